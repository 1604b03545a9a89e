"""Scales of blocks: those of the format's own rule, or those that lose least."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from codesign.formats import Format
from codesign.formats.elements import E8M0
from codesign.formats.kernel import Scales, fake, measure, pick_scales

# shares of the largest magnitude that become the end of the format's range; over 1, the largest number takes a smaller
# code than the last, which may suit the others better (as 4 in place of 6 in the elements of NVFP4)
_SHARES = (1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.82, 0.79, 0.76, 0.73, 0.7, 0.66, 0.62, 0.57, 0.52, 1.05, 1.12, 1.2, 1.5)
_POWERS = (1.0, 0.5, 2.0)
_CHUNK = 1 << 17  # numbers whose scales are searched at a time


def block_scales(
    groups: Tensor, fmt: Format, importance: Tensor, *, joint: bool = False, of_tensor: float | None = None
) -> Scales:
    """The scales of groups [R, k], each of numbers that share one, for a format with scales.

    importance: of each number's squared error, [R, k]; joint: of the errors of two numbers of any group, [k, k].
    of_tensor: the largest magnitude of the whole tensor, for a format with two levels. Elements of more than 8 bits
    take the scales of the format's own rule.
    """
    rows = max(1, _CHUNK // groups.shape[1])
    found = [
        _scales(part, fmt, importance if joint else importance[first : first + rows], joint, of_tensor)
        for first, part in zip(range(0, len(groups), rows), groups.split(rows), strict=True)
    ]
    zero_points = [each.zero_point for each in found if each.zero_point is not None]
    return Scales(
        torch.cat([each.total for each in found]),
        torch.cat([each.block for each in found]),
        found[0].tensor,
        torch.cat(zero_points) if zero_points else None,
    )


def _scales(groups: Tensor, fmt: Format, importance: Tensor, joint: bool, of_tensor: float | None) -> Scales:
    scaling = fmt.scaling
    assert scaling is not None
    x = groups.unsqueeze(2).contiguous()
    x, full = measure(x, scaling.symmetric)
    full = replace(full, of_tensor=of_tensor if scaling.tensor_scale is not None else None)
    best = pick_scales(full, fmt.element, scaling)
    if fmt.element.bits > 8:
        return best
    out = torch.empty_like(x)

    def error(scales: Scales) -> Tensor:
        fake(x, scales, fmt.element, True, out, None)
        change = out.sub_(x)[:, :, 0]
        power = (change @ importance).mul_(change) if joint else change.square_().mul_(importance)
        return power.sum(1)[:, None, None]

    least = error(best)
    for share in _POWERS[1:] if scaling.scale == E8M0 else _SHARES[1:]:
        low = None if full.low is None else full.low * share
        tried = pick_scales(replace(full, high=full.high * share, low=low, measured=False), fmt.element, scaling)
        found = error(tried)
        better = found < least
        least = torch.where(better, found, least)
        best = Scales(
            torch.where(better, tried.total, best.total),
            torch.where(better, tried.block, best.block),
            best.tensor,
            None
            if best.zero_point is None or tried.zero_point is None
            else torch.where(better, tried.zero_point, best.zero_point),
        )
    return best
