"""Quantities in the words and units of a person: decibels against float, nats per token, images, tokens a second.

A study minimizes what adds up, such as the log10 of a squared error. What people read is derived from it here, for
the terminal, the report and its page alike.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from codesign.designs import Design, Goal, Metric, Study
from codesign.human import human

Kind = Literal["same", "decibel", "power", "negative"]
_DECADE = "log10"
_SQUARED = ("output_error", "squared_error")  # metrics that are squared errors to the float network's outputs
_PER_TOKEN = "latency_per_token_s"


@dataclass(frozen=True)
class Reading:
    """How an objective is read: its label, the unit, and how the stored value becomes the one that is shown.

    same: as stored; decibel: -10 times a log10, the PSNR of a squared error of values in 0..1; power: 10 to the
    stored log10; negative: a decibel that was stored negated, as losses are.
    """

    label: str
    unit: str
    kind: Kind = "same"

    @property
    def better(self) -> Literal["higher", "lower"]:
        """Which of two shown values is the better one."""
        return "higher" if self.kind in ("decibel", "negative") else "lower"

    def value(self, stored: float) -> float:
        """The value to show, of the stored one."""
        if self.kind == "decibel":
            return -10 * stored
        if self.kind == "power":
            return float(10.0 ** min(stored, 300.0))
        return -stored if self.kind == "negative" else stored

    def text(self, stored: float) -> str:
        """The value to show, with its unit."""
        value = self.value(stored)
        return f"{value:.2f} dB" if self.unit == "dB" else human(value, self.unit)

    def interval(self, low: float, high: float) -> str:
        """The interval to show, with its unit, the smaller value first."""
        ends = sorted((self.value(low), self.value(high)))
        return f"{self._bare(ends[0])} to {self._bare(ends[1])} {self.unit}".strip()

    def change(self, before: float, after: float) -> str:
        """The change between two stored values: a difference of decibels, else relative; empty from zero."""
        first, second = self.value(before), self.value(after)
        if self.unit == "dB":
            return f"{second - first:+.2f} dB"
        return f"{(second - first) / abs(first):+.1%}" if first else ""

    def _bare(self, value: float) -> str:
        return f"{value:.2f}" if self.unit == "dB" else human(value, "")


def reading(files: Study, goal: Goal) -> Reading:
    """How an objective of a study is read."""
    task, _, field = goal.name.rpartition(".")
    if field == "quality":
        return _of_quality(files, task)
    named = f"{task}: " if task and len(files.record.tasks) > 1 else ""
    words = {"latency_s": "latency of one result", _PER_TOKEN: "latency of a token", "energy_j": "energy of one result"}
    return Reading(named + words.get(field, _plain(field)), goal.unit)


def _of_quality(files: Study, task: str) -> Reading:
    measured, facts = files.record.tasks[task], files.front.tasks.get(task)
    unit = (facts.unit if facts and facts.unit else measured.unit).strip()
    if unit == "dB":  # a negated PSNR
        return Reading(f"{task}: {_plain(measured.metric)}", "dB", "negative")
    if unit.startswith(_DECADE) or (facts is not None and facts.scale == "log10"):
        rest = unit.removeprefix(_DECADE).strip()
        if measured.metric in _SQUARED:
            return Reading(f"{task}: against float", "dB", "decibel")
        return Reading(f"{task}: {_loss(measured.metric)}", rest, "power")
    return Reading(f"{task}: {_loss(measured.metric)}", unit)


def _loss(metric: str) -> str:
    return "KL to float" if metric.startswith("kl") else _plain(metric)


def _plain(name: str) -> str:
    """A name of the code in words: area_mm2 -> area."""
    return re.sub(r"_(mm2|s|j|bytes|js)$", "", name).replace("_", " ")


def formats_words(design: Design) -> str:
    """The formats of most layers, by network, and in how many of them: ``int4_g32:int8 in 20 of 30``."""
    found = []
    for task in design.assignments:
        counts = design.pairs(task)
        (pair, layers), every = counts.most_common(1)[0], counts.total()
        text = pair_words(pair) if layers == every else f"{pair_words(pair)} in {layers} of {every}"
        found.append(f"{task}: {text}" if len(design.assignments) > 1 else text)
    return "; ".join(found)


@dataclass(frozen=True)
class MetricWords:
    """A metric of a design as people read it."""

    label: str
    value: str
    interval: str
    float_value: str  # the float network's own, "" if the metric compares with it
    change: str  # against float, with its interval
    verdict: str  # what the change means, with the number of samples


_LABELS = {
    r"psnr_to_float": "PSNR against float",
    r"psnr_to_(\w+)": "PSNR against the {}",
    r"psnr_(\w+)_hole": "PSNR inside the hole, {}",
    r"psnr_(\w+)": "PSNR against the truth, {}",
    r"ssim_(\w+)": "SSIM, {}",
    r"kl(_to_float)?": "KL divergence from float",
    r"top1_agreement": "same next token as float",
    r"perplexity": "perplexity",
    r"exact_match": "answers exactly right",
    r"chrf": "chrF",
}


def metric_label(metric: str) -> str:
    """The name of a metric in words."""
    for pattern, text in _LABELS.items():
        if match := re.fullmatch(pattern, metric):
            return text.format(*(_plain(group) for group in match.groups() if group))
    return _plain(metric)


def metric_words(metric: Metric, samples: str = "samples") -> MetricWords:
    """A metric in words; samples: what they are, in the plural."""
    change = verdict = ""
    if metric.delta is not None and metric.delta_low is not None and metric.delta_high is not None:
        change = f"{_number(metric.delta, metric.unit, signed=True)} ({_number(metric.delta_low, '', signed=True)} to "
        change += f"{_number(metric.delta_high, '', signed=True)})"
        verdict = _verdict(metric, metric.delta_low, metric.delta_high, samples)
    compares = metric.metric.startswith("kl") or metric.metric.endswith("_to_float") or "agreement" in metric.metric
    own = "" if metric.float_value is None or compares else _number(metric.float_value, metric.unit)
    return MetricWords(
        metric_label(metric.metric),
        _number(metric.value, metric.unit),
        f"{_number(metric.low, '')} to {_number(metric.high, '')}",
        own,
        "" if compares else change,
        "" if compares else verdict,
    )


def _verdict(metric: Metric, low: float, high: float, samples: str) -> str:
    if low <= 0 <= high:
        return f"indistinguishable from float on {metric.n} {samples}"
    better = (low > 0) == (metric.direction == "maximize")
    return f"{'better' if better else 'worse'} than float, beyond the noise of {metric.n} {samples}"


def _number(value: float, unit: str, *, signed: bool = False) -> str:
    if math.isinf(value):
        return ("+" if value > 0 and signed else "") + ("infinite" if value > 0 else "-infinite")
    digits = f"{value:+.3g}" if signed else f"{value:.4g}"
    return f"{digits} {unit}".strip()


def pair_words(pair: str) -> str:
    """A pair in short: int8 for int8:int8."""
    weight, _, activation = pair.partition(":")
    return weight if weight == activation else pair
