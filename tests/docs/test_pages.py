"""Links of all pages lead somewhere, and their code does what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from codesign.cli import main
from tests.docs.blocks import SHELLS, check_command, check_yaml, commands, words
from tests.docs.markdown import ROOT, Block, anchors, blocks, links, pages

PAGES = pages()
OF_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]
CHEAP = {"mac", "validate", "rtl", "workloads"}  # commands that pages show and that take a second
LANGUAGES = {"python", "yaml", "text", *SHELLS}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        if re.match(r"https?:|mailto:", target):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{link} leads nowhere"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_its_language(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_command_lines_are_understood(page: Path) -> None:
    for block in blocks(page):
        if block.language in SHELLS:
            for command in commands(block):
                try:
                    check_command(command)
                except SystemExit:
                    pytest.fail(f"{block}: {command}")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_of_yaml_are_valid(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            check_yaml(block, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", OF_PYTHON, ids=name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run in order, in a folder with the files that the page shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    variables: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), variables)


def shown(page: Path) -> list[tuple[Block, str]]:
    """The commands of a page that are cheap enough to be run."""
    found = [(block, command) for block in blocks(page) if block.language in SHELLS for command in commands(block)]
    return [(b, c) for b, c in found if words(c)[0] == "codesign" and words(c)[1] in CHEAP and "--check" not in c]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if shown(page)], ids=name)
def test_cheap_commands_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    for block in blocks(page):
        if block.file and block.language in ("python", "yaml"):
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    for block, command in shown(page):
        arguments = words(command)[1:]
        if any(word in arguments for word in ("--model", "--design")):
            continue  # they go on from a study or a calibration that the page makes first
        assert main(arguments) == 0, f"{block}: {command}"
