"""A network of seven layers, small enough that every assignment of five formats can be measured.

    python reports/benchmarks/enumerated_problem/digits_attention.py     # trains it again: half a minute, one thread

Two convolutions, a residual block of self-attention over 16 places, two linear layers; it reads the handwritten
digits that come with scikit-learn (1,797 of 8 x 8, Alpaydin and Kaynak, 1998). Its weights are beside this file.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("digits_attention.safetensors")
TRAINED_ON, STEPS, SEED = 1500, 600, 0


class DigitsAttention(nn.Module):
    """[n, 1, 8, 8] in -1..1 -> logits [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, padding=1)
        self.down = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.to_qkv = nn.Linear(64, 192)
        self.to_out = nn.Linear(64, 64)
        self.up = nn.Linear(64, 128)
        self.head = nn.Linear(128, 10)

    def forward(self, image: Tensor) -> Tensor:
        h = F.silu(self.down(F.silu(self.stem(image)))).flatten(2).transpose(1, 2)
        q, k, v = (part.unflatten(2, (2, 32)).transpose(1, 2) for part in self.to_qkv(h).chunk(3, dim=2))
        h = h + self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.head(F.silu(self.up(h.mean(dim=1))))


def data() -> tuple[Tensor, Tensor]:
    digits = load_digits()
    return torch.from_numpy(digits.images).float()[:, None] / 8 - 1, torch.from_numpy(digits.target)


def train() -> DigitsAttention:
    torch.manual_seed(SEED)
    images, labels = data()
    module = DigitsAttention()
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(0, TRAINED_ON, (128,))
        loss = F.cross_entropy(module(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return module


def task() -> tuple[nn.Module, Tensor, Tensor, object]:
    """(module, calibration, evaluation, metric) for codesign."""
    module = DigitsAttention()
    module.load_state_dict(load_file(WEIGHTS))
    images, _ = data()
    return module.eval(), images[:128], images[TRAINED_ON : TRAINED_ON + 128], kl_to_float


def kl_to_float(outputs: Tensor, reference: Tensor) -> Tensor:
    """Nats per image between the float network's and the quantized network's class probabilities."""
    p, q = reference.log_softmax(1), outputs.log_softmax(1)
    return (p.exp() * (p - q)).sum(1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    network = train()
    images, labels = data()
    with torch.inference_mode():
        right = (network.eval()(images[TRAINED_ON:]).argmax(1) == labels[TRAINED_ON:]).float().mean()
    save_file(network.state_dict(), WEIGHTS)
    print(f"{WEIGHTS}: {float(right):.1%} of the {len(labels) - TRAINED_ON} held-out digits read right")
