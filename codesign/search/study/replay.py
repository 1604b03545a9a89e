"""What a resumed search begins with, if its proposals are not those of the runs before.

A search repeats its decisions and takes their outcomes from the ledger. With another cost model, another sampler or
other code it proposes otherwise; all that is measured is then made known to it first, so that nothing is lost.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codesign.search.engine.engine import Proposal
from codesign.search.engine.points import Pool
from codesign.search.queue.storage import patient
from codesign.search.queue.trials import TrialResult
from codesign.search.space.prices import cost_version
from codesign.search.study.study import OpenStudy
from codesign.sources import digest

_ATTRIBUTE = "replay"
COSTS = "cost_version"  # attribute: the cost model of the newest run


@functools.cache
def _proposing() -> str:
    """Hash of the code that proposes."""
    root = Path(__file__).resolve().parents[1]
    files = [*(root / "engine").glob("*.py"), *(root / "samplers").glob("*.py")]
    return digest([*files, root / "study" / "uniform.py", root / "study" / "scales.py"], root)


@patient
def begin_with(study: OpenStudy, sampler: str) -> list[tuple[Proposal, str]]:
    """The measured candidates that a run is told of before it proposes, with what proposed them.

    None, as long as the runs of the study propose alike; else all that was measured when they began to differ.
    """
    storage, study_id = study.ledger.storage, study.ledger.study_id
    attributes, numbered = storage.get_study_user_attrs(study_id), study.ledger.numbered()
    study.priced_anew = bool(numbered) and attributes.get(COSTS) != cost_version()
    search = study.space.spec.search
    decides = [cost_version(), _proposing(), sampler, str(search.batch), search.losses]
    if sampler != "engine":  # whose proposals are the same for any number of workers
        decides.append(str(study.workers))
    key = hashlib.sha256(" ".join(decides).encode()).hexdigest()[:16]
    written = json.loads(attributes.get(_ATTRIBUTE, "{}"))
    if written.get("key") != key:
        written = {"key": key, "known": sorted(numbered)}
        storage.set_study_user_attr(study_id, _ATTRIBUTE, json.dumps(written))
        storage.set_study_user_attr(study_id, COSTS, cost_version())
    return [_proposal(study, numbered[number]) for number in written["known"] if number in numbered]


def _proposal(study: OpenStudy, record: TrialResult) -> tuple[Proposal, str]:
    choices = {name: np.array(record.assignments[name]) for name in study.space.networks}
    return Proposal(record.accelerator, choices), record.proposed_by


def current_values(study: OpenStudy, records: Sequence[TrialResult]) -> np.ndarray:
    """The objectives [n, d] of n candidates that were measured on all samples, at today's prices.

    Optuna's trials keep the values that they ended with, as finished trials are immutable.
    """
    if not records:
        return np.zeros((0, len(study.space.objectives)))
    pools = {
        name: Pool(np.array([r.assignments[name] for r in records]), np.array([r.quality[name].value for r in records]))
        for name in study.space.networks
    }
    return study.combiner.values(np.array([r.accelerator for r in records]), pools)
