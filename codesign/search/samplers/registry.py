"""Strategies by name: the engine, Optuna's samplers, and those of installed packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from codesign.plugins import PREFIX, by_name, importable, named_object
from codesign.search.samplers.engine_strategy import EngineStrategy
from codesign.search.samplers.optuna_strategy import OPTUNA_STRATEGIES
from codesign.search.samplers.strategy import StrategyFactory

GROUP = "codesign.strategies"  # of entry points
ENGINE = "codesign"
STRATEGIES: Mapping[str, StrategyFactory] = MappingProxyType({ENGINE: EngineStrategy, **OPTUNA_STRATEGIES})


def strategy_factory(name: str, *, search_path: Path | None = None) -> StrategyFactory:
    """The factory of the strategy `name`: built in, of an installed package, or ``python:module:function``.

    Args:
        name: the strategy's name.
        search_path: folder from which a user's module can be imported, besides the working folder.
    Raises:
        InputError: unknown name; the text has the nearest.
    """
    if name.startswith(PREFIX):
        with importable(search_path):
            found: StrategyFactory = named_object(name, search_path).call
            return found
    return by_name("sampler", name, STRATEGIES, GROUP, f"{PREFIX}module:function")
