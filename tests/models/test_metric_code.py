"""A study does not go on with another metric, wherever its code stands: in other modules, in installed packages."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from codesign.models import load_task
from tests.packages import install_package

TASK = """
import functools
import torch
{imports}


def task():
    data = torch.randn(32, 16)
    return torch.nn.Linear(16, 4), data, data, {metric}
"""
LOSS = "def loss(outputs, reference):\n    return (outputs - reference).square().mean(dim=1)\n"
CLASS = "class Loss:\n    def __call__(self, outputs, reference):\n        return (outputs - reference).mean(dim=1)\n"
AROUND = "import {0}\n\n\ndef around(outputs, reference):\n    return {0}.loss(outputs, reference)\n"
INSIDE = "def around(outputs, reference):\n    import {0}\n\n    return {0}.loss(outputs, reference)\n"
FROM = "from {0} import loss\n\n\ndef around(outputs, reference):\n    return loss(outputs, reference)\n"
# what the task file has, and what it returns; {0} is the module that has the metric
USES = {
    "as it is": ("from {0} import loss", "loss"),
    "a part of it": ("from {0} import loss", "functools.partial(loss)"),
    "in the words of a Loss": ("import {0}\nfrom codesign import Loss", "Loss({0}.loss, 'raw', 'm')"),
    "an object": ("from {0} import Loss", "Loss()"),
    "called by name": (AROUND, "around"),
    "imported when it runs": (INSIDE, "around"),
    "a name of it": (FROM, "around"),
    "in a closure": ("from {0} import loss", "(lambda f: lambda y, r: f(y, r))(loss)"),
}


def code(folder: Path, use: str, module: str) -> str:
    imports, metric = (text.format(module) for text in USES[use])
    folder.mkdir(exist_ok=True)
    name = f"task_of_{module}"
    (folder / f"{name}.py").write_text(TASK.format(imports=imports, metric=metric))
    return load_task(f"python:{name}:task", search_path=folder).code


def installed(site: Path, name: str, version: str) -> None:
    install_package(site, name, f"{LOSS}\n\n{CLASS}", "")
    facts = site / f"{name}-1.0.dist-info"
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (facts / "top_level.txt").write_text(name)
    facts.rename(site / f"{name}-{version}.dist-info")
    importlib.invalidate_caches()


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
def test_the_version_of_a_metrics_package_is_part_of_a_task(
    use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"metrics_{list(USES).index(use)}"
    codes = []
    for number, version in enumerate(["1.0", "1.0", "1.1"]):
        site = tmp_path / str(number) / "site-packages"
        monkeypatch.syspath_prepend(site)
        installed(site, name, version)
        codes.append(code(tmp_path / f"mine{number}", use, name))
        sys.modules.pop(name, None)
    assert codes[0] == codes[1] != codes[2]


def test_a_metric_of_a_users_module_elsewhere_is_part_of_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PYTHONPATH, beside no task."""
    codes = []
    for number, more in enumerate(["", "# a comment\n", "\n\nX = 1\n"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "metric_elsewhere.py").write_text(LOSS + more)
        monkeypatch.syspath_prepend(folder)
        codes.append(code(tmp_path / f"mine{number}", "called by name", "metric_elsewhere"))
        sys.modules.pop("metric_elsewhere", None)
    assert codes[0] == codes[1] != codes[2]


@pytest.mark.slow
def test_a_metric_of_a_module_beside_the_task_is_part_of_it(tmp_path: Path) -> None:
    codes = []
    for number, more in enumerate(["", "# a comment\n", "\n\nX = 1\n"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "metric_beside.py").write_text(LOSS + more)
        codes.append(code(folder, "imported when it runs", "metric_beside"))
    assert codes[0] == codes[1] != codes[2]


def test_torch_and_numpy_are_no_part_of_it(tmp_path: Path) -> None:
    """With another version of torch a study goes on, after its sentinels."""
    own = "def around(outputs, reference):\n    return torch.nn.functional.mse_loss(outputs, reference)\n"
    (tmp_path / "of_torch.py").write_text(TASK.format(imports=own, metric="around"))
    (tmp_path / "of_none.py").write_text(TASK.format(imports="", metric="None"))
    from codesign.plugins import module_code

    for name in ("of_torch", "of_none"):
        task = load_task(f"python:{name}:task", search_path=tmp_path)
        assert task.code == module_code(name, tmp_path / f"{name}.py")
