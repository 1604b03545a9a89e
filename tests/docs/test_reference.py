"""The generated pages: every public name, format, constant, command and key is in them, with its words."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest
import yaml

from docs.generate import api, cli, constants, formats
from docs.generate.hooks import PARTS
from docs.generate.results import ROOT
from tests.docs.markdown import pages

MARK = re.compile(r"<!-- generated: ([\w ]+) -->")
OWN = "codesign."


@pytest.mark.parametrize("package", api.PACKAGES)
def test_every_public_name_is_documented(package: str) -> None:
    missing = [name for name, found in api.public(package) if api.is_described(found) and not api.docstring(found)]
    assert not missing


@pytest.mark.parametrize("package", api.PACKAGES)
def test_every_public_method_is_documented(package: str) -> None:
    missing = []
    for name, found in api.public(package):
        if not inspect.isclass(found) or not found.__module__.startswith(OWN):
            continue
        fields = {field.name for field in dataclasses.fields(found)} if dataclasses.is_dataclass(found) else set()
        for called, member in vars(found).items():
            if called.startswith("_") or called in fields:
                continue
            bare = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
            of_code = inspect.isfunction(bare) or isinstance(bare, property)
            if of_code and not inspect.getdoc(getattr(found, called)):  # or that of the method that it overrides
                missing.append(f"{name}.{called}")
    assert not missing


def test_pages_ask_for_parts_that_exist_and_every_part_is_asked_for() -> None:
    asked = {name for page in pages() for name in MARK.findall(page.read_text(encoding="utf-8"))}
    assert asked == set(PARTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_tables_of_generated_parts_are_whole(name: str) -> None:
    """Each row has as many cells as its head, so that no text has broken the table."""
    columns = 0
    for line in PARTS[name]().splitlines():
        found = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (columns and found) or found == columns, line
        columns = found


def test_every_format_has_a_row_and_an_example() -> None:
    for part in ("formats", "format examples"):
        assert re.findall(r"^\| `(\w+)` ", PARTS[part](), re.M) == list(formats.names())


def test_every_command_has_an_example_and_every_option_a_meaning() -> None:
    for name, parser in cli.commands().items():
        assert f"codesign {name}" in (parser.epilog or ""), name
        assert all(action.help for action in parser._actions), name


def test_every_constant_has_unit_source_and_quality() -> None:
    entries = [
        (f"{path.name}: {name}", entry)
        for path in sorted(constants.DATA.rglob("*.yaml"))
        for name, entry in constants.constants(yaml.safe_load(path.read_text(encoding="utf-8")))
    ]
    assert len(entries) > 100
    for name, entry in entries:
        assert entry.get("unit"), name
        assert entry["quality"] in constants.QUALITIES, name


def test_every_page_of_docs_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M))
    assert listed == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
