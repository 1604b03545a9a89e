"""Tasks by name: bundled, of an installed package, of a user's own."""

from __future__ import annotations

import inspect
import pickle  # of modules that worker processes are sent; only its own bytes are read here
import sys
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


NET = """
import torch
from part import WIDTH


class Net(torch.nn.Linear):
    pass


def task():
    return Net(WIDTH, 4), torch.randn(32, WIDTH), torch.randn(32, WIDTH), None
"""


def test_each_folder_has_its_own_module_of_one_name(tmp_path: Path) -> None:
    """In one process, with the neighbours that each of them imports; a study's network is that beside its file."""
    tasks = {}
    for folder, width in (("a", 16), ("b", 32)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mynet_of_two.py").write_text(NET)
        (tmp_path / folder / "part.py").write_text(f"WIDTH = {width}")
    for folder in ("a", "b", "a"):
        tasks[folder] = load_task("python:mynet_of_two:task", search_path=tmp_path / folder)
    assert [task.module.in_features for task in tasks.values()] == [16, 32]
    assert [task.file for task in tasks.values()] == [tmp_path / f / "mynet_of_two.py" for f in tasks]
    assert tasks["a"].code != tasks["b"].code
    for task in tasks.values():
        assert "class Net" in inspect.getsource(type(task.module))
        assert type(pickle.loads(pickle.dumps(task.module))) is type(task.module)  # its own bytes
    assert str(tmp_path) not in "".join(sys.path)


def test_the_file_beside_the_space_comes_before_that_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, width in (("here", 16), ("there", 32)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mynet_here.py").write_text(NET.replace("from part import WIDTH", f"WIDTH = {width}"))
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "here")
    assert load_task("python:mynet_here:task", search_path=tmp_path / "there").module.in_features == 32
    assert load_task("python:mynet_here:task").module.in_features == 16


def test_a_file_named_like_a_standard_module_is_the_users(tmp_path: Path) -> None:
    import statistics

    (tmp_path / "statistics.py").write_text(NET.replace("from part import WIDTH", "WIDTH = 16"))
    task = load_task("python:statistics:task", search_path=tmp_path)
    assert task.file == tmp_path / "statistics.py"
    assert sys.modules["statistics"] is statistics


def test_a_task_in_a_package_imports_its_relatives(tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").touch()
    (tmp_path / "nets" / "mine.py").write_text(NET.replace("from part", "from .part"))
    (tmp_path / "nets" / "part.py").write_text("WIDTH = 48")
    assert load_task("python:nets.mine:task", search_path=tmp_path).module.in_features == 48


def test_the_code_of_a_task_is_what_it_does_and_what_it_imports(tmp_path: Path) -> None:
    codes = []
    for number, (net, part) in enumerate(
        [
            (NET, "WIDTH = 16"),
            (NET.replace("def task", "# a comment\n\n\ndef task"), '"""What it is."""\nWIDTH  = 16'),
            (NET, "WIDTH = 17"),
            (NET.replace("32, WIDTH", "33, WIDTH"), "WIDTH = 16"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "mynet_code.py").write_text(net)
        (folder / "part.py").write_text(part)
        codes.append(load_task("python:mynet_code:task", search_path=folder).code)
    assert codes[0] == codes[1]
    assert len(set(codes)) == 3


def test_a_module_in_a_folder_without_init_has_the_code_of_what_it_imports(tmp_path: Path) -> None:
    codes = []
    for folder, width in (("a", 16), ("b", 32), ("c", 32)):
        (tmp_path / folder / "mine").mkdir(parents=True)
        (tmp_path / folder / "mine" / "net_of_folder.py").write_text(NET.replace("from part", "from widths"))
        (tmp_path / folder / "widths.py").write_text(f"WIDTH = {width}")
        codes.append(load_task("python:mine.net_of_folder:task", search_path=tmp_path / folder).code)
    assert codes[0] != codes[1] == codes[2]
