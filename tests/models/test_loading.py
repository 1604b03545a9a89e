"""Tasks by name: bundled, of an installed package, of a user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.models import is_task, load_task, workload_called
from codesign.models.custom import CustomTask
from tests.packages import install_package

MODULE = """
from tests.conftest import make_tiny_task
from tests.tiny import task


def whole():
    return make_tiny_task()


def parts():
    return task()


def nothing():
    return 7
"""
POINTS = """[codesign.tasks]
stripes = plugged:whole
stripes_in_parts = plugged:parts
stripes_not_at_all = plugged:nothing
restore = plugged:nothing
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package from outside that adds tasks, as pip leaves it in site-packages."""
    install_package(tmp_path, "plugged", MODULE, POINTS)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", ["stripes", "stripes_in_parts"])
def test_a_task_of_an_installed_package_is_there_by_its_name(installed: None, name: str) -> None:
    assert is_task(name)
    task = load_task(name, name="mine")
    assert isinstance(task, CustomTask)
    assert task.name == "mine"
    assert workload_called(name).layers == task.workload().layers


def test_a_task_that_is_none_is_refused_by_its_name(installed: None) -> None:
    with pytest.raises(InputError, match=r"'stripes_not_at_all' must return \(module, calibration"):
        load_task("stripes_not_at_all")


def test_a_bundled_name_is_not_taken(installed: None) -> None:
    assert load_task("restore").name == "restore"


def test_an_unknown_name_offers_those_of_packages_too(installed: None) -> None:
    with pytest.raises(InputError, match="unknown task 'strips'; did you mean 'stripes'"):
        load_task("strips")


def test_without_such_a_package_there_is_no_such_task() -> None:
    assert not is_task("stripes")
