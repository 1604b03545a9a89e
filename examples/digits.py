"""A task of your own: a small convolutional network for handwritten digits.

From the repository's root, ``task: python:examples.digits:task`` in a search space (modules are found beside the
YAML file and in the current folder); it needs scikit-learn (``pip install -e '.[train]'``). Directly:

    codesign evaluate --task python:examples.digits:task --formats mxfp4

The function trains the network (about two seconds) and returns what codesign needs: the module, a
calibration batch, an evaluation batch and a metric with one loss per sample.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

Batch = Tensor


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def task() -> tuple[nn.Module, Tensor, Tensor, object]:
    """(module, calibration, evaluation, metric) for codesign."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 8 - 1
    labels = torch.from_numpy(digits.target)
    train, held_out = slice(0, 1500), slice(1500, 1756)
    module = network()
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(150):
        rows = torch.randint(0, 1500, (128,))
        loss = F.cross_entropy(module(images[train][rows]), labels[train][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def kl_to_float(outputs: Tensor, reference: Tensor) -> Tensor:
        """Nats per image between the float network's and the quantized network's class probabilities."""
        p, q = reference.log_softmax(1), outputs.log_softmax(1)
        return (p.exp() * (p - q)).sum(1)

    return module.eval(), images[:128], images[held_out], kl_to_float
