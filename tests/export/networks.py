"""Small networks of each kind, exported in tests, and mixed designs of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from codesign.export.networks import NetworkExporter, WrittenNetwork
from codesign.export.origin import Origin
from codesign.export.registry import OWN
from codesign.export.scored import ScoredNetwork
from codesign.formats import Assignment, FormatPair
from codesign.quality import Evaluator
from codesign.search.space.written import TaskSpec

ATTENTION = "fp32"


def scored(evaluator: Evaluator, pairs: Mapping[str, str], default: str) -> ScoredNetwork:
    """A network with a pair for the layers whose names end so, and `default` for the others; attention in floats."""

    def pair(layer: str, kind: str) -> str:
        return (
            ATTENTION if kind == "attention" else next((p for end, p in pairs.items() if layer.endswith(end)), default)
        )

    found = {layer: FormatPair.parse(pair(layer, kind)) for layer, kind in evaluator.layers.items()}
    return ScoredNetwork(evaluator.task, Assignment.of_pairs(found, evaluator.layers), evaluator)


def origin_of(task: str) -> Origin:
    return Origin("study", "d00000001", "net", TaskSpec(task=task), Path())


def export(to: str, network: ScoredNetwork, task: str, folder: Path) -> WrittenNetwork:
    exporter = OWN[to]
    assert isinstance(exporter, NetworkExporter)
    return exporter.write(network, origin_of(task), folder)
