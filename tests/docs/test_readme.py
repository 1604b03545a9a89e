"""The README says in both languages what the reference study says, and both say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codesign.designs import load_study
from docs.generate.results import PICTURE, STUDY, caption, with_table
from tests.docs.markdown import READMES, blocks, headings, links, tables

ENGLISH, CHINESE = READMES


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_a_readme_is_short(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) < 150


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_its_table_is_of_the_reference_study(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == with_table(text, load_study(STUDY), page.name), "run python -m docs.generate.results"


def test_its_picture_is_of_the_reference_study() -> None:
    assert caption(load_study(STUDY)) in PICTURE.read_text(encoding="utf-8"), "run python -m docs.generate.results"


def test_both_languages_have_the_same_headings() -> None:
    assert [level for level, _ in headings(ENGLISH)] == [level for level, _ in headings(CHINESE)]


def test_both_languages_have_the_same_code() -> None:
    assert [(b.language, b.text) for b in blocks(ENGLISH)] == [(b.language, b.text) for b in blocks(CHINESE)]


def test_both_languages_have_the_same_tables() -> None:
    """As many rows and columns, and in each cell the same code and the same numbers."""
    english, chinese = tables(ENGLISH), tables(CHINESE)
    assert [[len(row) for row in table] for table in english] == [[len(row) for row in table] for table in chinese]
    cells = [[cell for table in page for row in table for cell in row] for page in (english, chinese)]
    for one, other in zip(*cells, strict=True):
        assert re.findall(r"`[^`]+`", one) == re.findall(r"`[^`]+`", other)
        assert re.findall(r"\d[\d.]*", one) == re.findall(r"\d[\d.]*", other)


def test_both_languages_lead_to_the_same_pages() -> None:
    """A page that exists in Chinese is linked in Chinese; each README links the other."""

    def targets(page: Path) -> list[str]:
        return [link.replace("docs/zh/", "docs/").replace("README.zh-CN.md", "README.md") for link in links(page)]

    assert targets(ENGLISH) == targets(CHINESE)


def test_both_languages_have_as_many_paragraphs_in_each_section() -> None:
    def counts(page: Path) -> list[int]:
        sections = re.split(r"^#+ .*$", page.read_text(encoding="utf-8"), flags=re.M)
        return [len(re.findall(r"\S[^\n]*(?:\n[^\n]+)*", section)) for section in sections]

    assert counts(ENGLISH) == counts(CHINESE)
