"""Data in batches: samples that calibration and evaluation share."""

from __future__ import annotations

import torch

from codesign.models.batches import Batch
from codesign.models.custom import CustomTask


def test_samples_of_evaluation_that_calibration_has_seen_are_counted() -> None:
    x = torch.randn(12, 4)
    module = torch.nn.Linear(4, 2)
    assert CustomTask("apart", module, x[:6], x[6:], None).shared_samples() == 0
    assert CustomTask("same", module, x, x, None).shared_samples() == 12
    parts = CustomTask("parts", module, [Batch(x[:4]), Batch(x[4:8])], [Batch(x[6:9]), Batch(x[9:])], None)
    assert parts.shared_samples() == 2
    named = CustomTask("named", module, {"input": x[:6]}, {"input": x[5:]}, None)
    assert named.shared_samples() == 1
