"""Runs inside ZigZag's own Python: a JSON list of tasks on standard input, one JSON line a task on standard output.

    zigzag-python worker.py < tasks.json

A task names files (accelerator, mapping, workload, as ZigZag reads them) and an engine: `loma`, every order of at most
`lpf_limit` loops, or `salsa`, simulated annealing of the order of all prime factors for `criterion`. The stages are
those of `zigzag.api.get_hardware_performance_zigzag` without the ones that save files; of all mappings that come out,
the one of least latency and the one of fewest DRAM bytes are kept. ZigZag's own stage of SALSA starts a process per
search and waits forever where that one fails, so its engine is called in this process.
"""

from __future__ import annotations

import json
import logging
import queue
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from zigzag.cost_model.cost_model import CostModelEvaluation
from zigzag.mapping.temporal_mapping import TemporalMapping, TemporalMappingType
from zigzag.opt.salsa.engine import SalsaEngine
from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
from zigzag.stages.main import MainStage
from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
from zigzag.stages.parser.workload_parser import WorkloadParserStage
from zigzag.stages.stage import Stage
from zigzag.stages.workload_iterator import WorkloadStage


class Annealing(TemporalMappingGeneratorStage):
    """The one mapping that SALSA ends with."""

    def generate_temporal_mappings(self) -> Iterator[TemporalMapping]:
        random.seed(0)
        np.random.seed(0)
        engine = SalsaEngine(
            accelerator=self.accelerator,
            layer=self.layer,
            spatial_mapping=self.spatial_mapping,
            mapping_type=self.mapping_type,
            **self.kwargs,
        )
        found: queue.SimpleQueue[CostModelEvaluation] = queue.SimpleQueue()
        engine.run(found)
        yield found.get().temporal_mapping


class KeepBest(Stage):
    """Yields the mapping of least latency and that of fewest DRAM bytes, each with the number of mappings that came."""

    def run(self) -> Iterator[tuple[CostModelEvaluation, int]]:
        came, fastest, leanest = 0, None, None
        for found, _ in self.list_of_callables[0](self.list_of_callables[1:], **self.kwargs).run():
            came += 1
            moved = sum(dram_bytes(found).values())
            fastest = least(fastest, (found.latency_total2, moved), found)
            leanest = least(leanest, (moved, found.latency_total2), found)
        yield fastest[1], came
        yield leanest[1], came


def least(best: Any, key: tuple[float, float], found: CostModelEvaluation) -> Any:
    return (key, found) if best is None or key < best[0] else best


def dram_bytes(found: CostModelEvaluation) -> dict[str, float]:
    """Operand -> bytes through the port of its outermost memory, both ways, as ZigZag counts words."""
    links, hierarchy = found.memory_operand_links, found.accelerator.memory_hierarchy
    moved = {}
    for operand, levels in found.memory_word_access.items():
        outermost = hierarchy.get_operand_top_level(links.layer_to_mem_op(operand))
        moved[operand.name] = sum(levels[-1].data.values()) * outermost.ports[0].bw_max / 8
    return moved


def described(found: CostModelEvaluation) -> dict[str, Any]:
    """Cycles: all, of the array alone, stalls, first loads, last stores; bytes; loops a memory, innermost first."""
    return {
        "cycles": found.latency_total2,
        "array_cycles": found.ideal_temporal_cycle,
        "stall_cycles": found.stall_slack_comb,
        "onload_cycles": found.data_onloading_cycle,
        "offload_cycles": found.data_offloading_cycle,
        "utilisation": found.mac_utilization2,
        "dram_bytes": dram_bytes(found),
        "loops": {
            operand.name: [" ".join(f"{dim.name}{size}" for dim, size in loops) for loops in levels]
            for operand, levels in found.temporal_mapping.mapping_dic_origin.items()
        },
    }


def search(task: dict[str, Any]) -> dict[str, Any]:
    stages = [
        WorkloadParserStage,
        AcceleratorParserStage,
        WorkloadStage,
        KeepBest,
        SpatialMappingGeneratorStage,
        Annealing if task["engine"] == "salsa" else TemporalMappingGeneratorStage,
        CostModelStage,
    ]
    started = time.perf_counter()
    (fastest, (_, came)), (leanest, _) = MainStage(
        list_of_callables=stages,
        accelerator=task["accelerator"],
        workload=task["workload"],
        mapping=task["mapping"],
        loma_lpf_limit=task["lpf_limit"],
        loma_show_progress_bar=False,
        salsa_iteration_number=task.get("iterations"),
        salsa_opt_criterion=task.get("criterion"),
        access_same_data_considered_as_no_access=True,
        temporal_mapping_type=TemporalMappingType.UNEVEN,
    ).run()
    seconds = time.perf_counter() - started
    return {"mappings": came, "seconds": seconds, "fastest": described(fastest), "leanest": described(leanest)}


def main() -> None:
    logging.disable(logging.CRITICAL)
    for task in json.load(sys.stdin):
        print(json.dumps(search(task)), flush=True)


if __name__ == "__main__":
    main()
