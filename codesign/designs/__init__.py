"""The results of a study: its designs, their Pareto front, the study's record, and the folder that holds them."""

from codesign.designs.candidate import Candidate
from codesign.designs.cost import Component, DesignCost, LayerCost, TaskCost
from codesign.designs.design import AcceleratorFacts, Design, Metric, WorstSum
from codesign.designs.folder import Study, earlier, load_study, save_study
from codesign.designs.front import Front, Goal, TaskFacts
from codesign.designs.record import (
    Accumulators,
    AtEqualSize,
    Baseline,
    LayerFacts,
    NetworkRecord,
    ProgressPoint,
    StudyRecord,
)

__all__ = [
    "AcceleratorFacts",
    "Accumulators",
    "AtEqualSize",
    "Baseline",
    "Candidate",
    "Component",
    "Design",
    "DesignCost",
    "Front",
    "Goal",
    "LayerCost",
    "LayerFacts",
    "Metric",
    "NetworkRecord",
    "ProgressPoint",
    "Study",
    "StudyRecord",
    "TaskCost",
    "TaskFacts",
    "WorstSum",
    "earlier",
    "load_study",
    "save_study",
]
