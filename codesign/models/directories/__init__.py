"""Tasks from directories that other libraries write: ``transformers:DIR`` and ``diffusers:DIR``, with nothing but YAML.

Each kind of directory has a loader here, which makes a `CustomTask` of the network, the data that the options name, and
the metrics that suit its output. Weights come from safetensors (or GGUF), no code of the directory is run, and nothing
is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from codesign.errors import EnvironmentProblem, InputError, nearest
from codesign.models.custom import CustomTask
from codesign.models.directories.data import placed
from codesign.models.directories.imports import calm
from codesign.models.directories.options import Phases, TaskOptions
from codesign.sources import digest

LIBRARIES = ("transformers", "diffusers")
GIB = 1 << 30
__all__ = ["LIBRARIES", "Phases", "TaskOptions", "is_directory_task", "load_directory"]


def is_directory_task(spec: str) -> bool:
    """Whether a task's spec names a library's directory."""
    return spec.partition(":")[0] in LIBRARIES and ":" in spec


def load_directory(
    spec: str, *, name: str, folder: Path | None = None, options: TaskOptions | None = None
) -> CustomTask:
    """The task of a directory.

    Args:
        spec: ``transformers:DIR`` or ``diffusers:DIR``; a relative path counts from `folder`, as do those
            of the options.
        name: the task's name.
        folder: of the file that names it; where that holds no such path, and by default, the working folder.
        options: data, sizes, output and metric.
    Raises:
        InputError: no such directory, or it holds something else, or an option does not suit it.
        EnvironmentProblem: the library is not installed.
    """
    library, _, written = spec.partition(":")
    base = folder or Path()
    path = placed(base, written)
    if not path.exists():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(f"task '{spec}': no directory '{path}'{nearest(path.name, beside)}")
    with calm():
        return _loaded(spec, library, path, name, options, base)


def _loaded(spec: str, library: str, path: Path, name: str, options: TaskOptions | None, base: Path) -> CustomTask:
    try:
        import_module(library)
    except ImportError as error:
        missing = error.name or library
        raise EnvironmentProblem(
            f"task '{spec}': {missing} is not installed (pip install 'codesign[{library}]')"
        ) from None
    loader = import_module(f"codesign.models.directories.{library}_directory")
    load: Callable[[Path, str, TaskOptions, Path], CustomTask] = loader.load
    task = load(path, name, options or TaskOptions(), base)
    if options is not None and options.memory_gib:
        task.kept_bytes = int(options.memory_gib * GIB) // 4
    here = Path(__file__).parent
    task.code = digest(sorted(here.glob("*.py")), here)
    return task
