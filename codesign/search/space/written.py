"""The schema of search space files (search_spaces/*.yaml)."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, PositiveFloat, PositiveInt, field_validator, model_validator

from codesign.errors import nearest
from codesign.formats import FormatPair
from codesign.formats.assignment import NEAREST, check_method
from codesign.formats.enumerated import SCALES, own_name
from codesign.formats.grammar import LARGEST_BLOCK
from codesign.hardware.arithmetic.accumulators import check_accumulator
from codesign.hardware.chip.accelerator import all_axes, check_value
from codesign.hardware.chip.axes import Axis
from codesign.hardware.chip.files import written_value
from codesign.hardware.chip.memory_types import is_file
from codesign.models.directories import TaskOptions, is_directory_task
from codesign.models.preparation import USUAL, steps_of
from codesign.targets import check_target
from codesign.terms import DEFAULT_RULE, RangeRule
from codesign.workload.completeness import Unseen
from codesign.yamlio import Written, with_fields

_CLIPPED = 60  # characters of a wrong value that an error shows
_Listed = Annotated[list[str], Field(min_length=1)]


def _check_pair(text: str) -> str:
    pair = FormatPair.parse(text).checked()
    if "+" in text and pair.method == NEAREST:
        raise ValueError(f"{text}: a pair without a method takes those of its task: write methods: {NEAREST} there")
    return str(pair)


AUTO = "auto"  # GPTQ for weights of few bits, see `codesign.search.space.choices`


def _check_word(word: str) -> str:
    return word if word == AUTO else check_method(word)


def _check_scale(scale: str) -> str:
    if not own_name("int4", 32, scale):
        raise ValueError(f"unknown scale type '{scale}'{nearest(scale, SCALES)}")
    return scale


_MOST_GRAMMAR_BITS = 16
_Target = Annotated[str, AfterValidator(check_target)]
_OWNERS = {
    "layers": "task",
    "methods": "task",
    "prepare": "task",
    "ties": "task",
    "ranges": "task",
    "unseen": "task",
    "attention": "task",
    "target": "task",
    "formats": "workload",
    "assignment": "workload",
}


class TaskSpec(TaskOptions):
    """One network of the space: a task to measure in formats to find, or a workload in given formats."""

    task: str = Field(
        default="", description="restore, rewrite, python:module:function, transformers:DIR or diffusers:DIR"
    )
    layers: dict[str, _Listed] = Field(default={}, description="layer glob -> the pairs that matching layers may take")
    methods: dict[str, _Listed] = Field(
        default={}, description="layer glob -> how weights may be rounded; or one for all"
    )
    prepare: list[str] = Field(
        default=[USUAL], description="how the float network is changed first: usual, none, or steps"
    )
    ties: list[_Listed] = Field(default=[], description="globs of layers that must take the same pair")
    ranges: RangeRule = Field(default=DEFAULT_RULE, description="rule that clips activations in plain formats")
    unseen: Unseen = Field(
        default="refuse", description="what to do if many weights enter no product that is recognised"
    )
    attention: str = Field(default="", description="the pair of all attention products, if they are not searched")
    target: _Target = Field(default="", description="runtime that must load the network, if another than the space's")
    workload: str = Field(default="", description="a named workload with its options, or that of a task; not measured")
    formats: list[str] = Field(default=[], description="of a workload: one pair in all layers, or several to compare")
    assignment: str = Field(
        default="", description="of a workload: JSON file beside this one, layer -> {weight, activation}"
    )

    @property
    def options(self) -> TaskOptions:
        """What is written that goes with the directory of a network."""
        return TaskOptions(
            **{key: getattr(self, key) for key in TaskOptions.model_fields if key in self.model_fields_set}
        )

    @field_validator("layers")
    @classmethod
    def _known_pairs(cls, layers: dict[str, list[str]]) -> dict[str, list[str]]:
        return {glob: [_check_pair(p) for p in pairs] for glob, pairs in layers.items()}

    @field_validator("prepare")
    @classmethod
    def _known_steps(cls, prepare: list[str]) -> list[str]:
        return list(steps_of(prepare))

    @field_validator("methods", mode="before")
    @classmethod
    def _of_all_layers(cls, methods: object) -> object:
        """``gptq`` or ``[nearest, gptq]`` is meant for all layers."""
        if isinstance(methods, (str, list)):
            methods = {"*": methods}
        if not isinstance(methods, dict):
            return methods
        return {glob: [words] if isinstance(words, str) else words for glob, words in methods.items()}

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, methods: dict[str, list[str]]) -> dict[str, list[str]]:
        return {glob: list(dict.fromkeys(map(_check_word, words))) for glob, words in methods.items()}

    @field_validator("attention")
    @classmethod
    def _known_pair(cls, attention: str) -> str:
        return _check_pair(attention) if attention else ""

    @field_validator("ties", mode="before")
    @classmethod
    def _numbered(cls, ties: object) -> object:
        """Names such as 0, which torch.nn.Sequential gives; 1.10 would lose its zero, and is asked for in quotes."""
        if not isinstance(ties, list) or not all(isinstance(globs, list) for globs in ties):
            return ties
        return [[str(glob) if type(glob) is int else glob for glob in globs] for globs in ties]

    @field_validator("formats", "prepare", mode="before")
    @classmethod
    def _one_or_many(cls, written: object) -> object:
        return [written] if isinstance(written, str) else written

    @field_validator("formats")
    @classmethod
    def _known_formats(cls, formats: list[str]) -> list[str]:
        return list(dict.fromkeys(_check_pair(text) for text in formats))

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, written: object) -> object:
        if not isinstance(written, dict):
            found = f", found {written!r}"[:_CLIPPED]
            raise ValueError(f"write {{task: restore}}, or {{workload: sd15-unet, formats: int8}}{found}")
        return written

    @model_validator(mode="after")
    def _measured_or_fixed(self) -> TaskSpec:
        if bool(self.task) == bool(self.workload):
            raise ValueError("give either task, to be measured, or workload, whose formats are given")
        if self.workload and bool(self.formats) == bool(self.assignment):
            raise ValueError("a workload takes either formats or assignment")
        for key in TaskOptions.model_fields:
            if key in self.model_fields_set and not is_directory_task(self.task):
                raise ValueError(f"{key} goes with a task from a directory, transformers:DIR or diffusers:DIR")
        for key, owner in _OWNERS.items():
            if key in self.model_fields_set and getattr(self, key) and not getattr(self, owner):
                raise ValueError(f"{key} goes with {owner}")
        return self


def _limit(written: object) -> float | str:
    if isinstance(written, str):
        return written
    if isinstance(written, bool) or not isinstance(written, (int, float)) or not math.isfinite(written):
        raise ValueError(f"expected a finite number, or such as 'float + 0.1', found {written!r}"[:_CLIPPED])
    return float(written)


_Limit = Annotated[float | str, PlainValidator(_limit)]
_MOST_SETS = 10_000


class UnitSpec(Written):
    """The sets of format pairs that a compute unit may support."""

    sets: list[_Listed] = Field(default_factory=list, description="explicit sets of pairs")
    subsets_of: list[_Listed] = Field(default_factory=list, description="families: each of their subsets is a set")
    largest: PositiveInt = Field(default=3, description="most pairs of a subset")

    @field_validator("sets", "subsets_of")
    @classmethod
    def _known_pairs(cls, sets: list[list[str]]) -> list[list[str]]:
        return [[_check_pair(p) for p in pairs] for pairs in sets]

    @model_validator(mode="after")
    def _few(self) -> UnitSpec:
        families = [len(set(family)) for family in self.subsets_of]
        count = sum(math.comb(n, size) for n in families for size in range(1, min(self.largest, n) + 1))
        if count > _MOST_SETS:
            raise ValueError(f"subsets_of has {count:,} subsets, at most {_MOST_SETS:,}; reduce largest, or list sets")
        return self

    def resolve(self) -> list[tuple[FormatPair, ...]]:
        """All distinct sets of datapaths, in the file's order."""
        found: dict[tuple[FormatPair, ...], None] = {}
        for pairs in self.sets:
            found[tuple(sorted(_datapaths(pairs)))] = None
        for family in map(_datapaths, self.subsets_of):
            for size in range(1, min(self.largest, len(family)) + 1):
                for chosen in itertools.combinations(family, size):
                    found[tuple(sorted(chosen))] = None
        return list(found)


def _datapaths(pairs: list[str]) -> tuple[FormatPair, ...]:
    return tuple(dict.fromkeys(FormatPair.parse(pair).datapath for pair in pairs))


_ROOM_GIB = 1 << 20  # DRAM of a nominal chip, which holds any network


class _Hardware(Written):
    """The keys of `hardware:` other than the axes."""

    units: UnitSpec
    unit_model: str = Field(default="", description="a file from codesign calibrate, relative to the space file")

    def listed(self, axis: Axis) -> list[Any]:
        """The values of an axis, as in the file."""
        found: list[Any] = getattr(self, axis.key)
        return found


def _values(axis: Axis) -> Any:
    """The type of an axis's list, and its default."""
    usual = ... if axis.usual is None else [axis.usual]
    if axis.name == "accumulator":
        return Annotated[list[Annotated[str, AfterValidator(check_accumulator)]], Field(min_length=1)], usual
    if axis.memory:
        return Annotated[list[Annotated[str, AfterValidator(partial(_known_memory, axis))]], Field(min_length=1)], usual
    return Annotated[list[written_value(axis)], Field(min_length=1)], usual  # type: ignore[misc]  # for pydantic alone


def _known_memory(axis: Axis, name: str) -> str:
    if not is_file(name):  # files are checked when the space is resolved
        check_value(axis, name)
    return name


def _field(axis: Axis) -> tuple[Any, Any]:
    kind, usual = _values(axis)
    return kind, Field(usual, description=axis.meaning + (f"; 0: {axis.zero}" if axis.zero else ""))


_Axes = with_fields(_Hardware, "_Axes", {axis.key: _field(axis) for axis in all_axes().values()})


class HardwareSpec(_Axes):  # type: ignore[misc, valid-type]  # its fields are the axes
    """The hardware of a space: every combination of the axes' values is an accelerator."""


class GrammarSpec(Written):
    """Formats of the grammar that are tried on layers of the networks before the search, which takes the best."""

    elements: list[Literal["integer", "float", "power", "log", "codebook"]] = Field(
        default=["integer", "float", "power", "log", "codebook"], min_length=1, description="kinds of elements"
    )
    bits: list[PositiveFloat] = Field(
        default=[4, 4.5],
        min_length=2,
        max_length=2,
        description="least and most stored bits of an element, its share of a scale included",
    )
    blocks: list[Annotated[int, Field(ge=0, le=LARGEST_BLOCK)]] = Field(
        default=[16, 32], min_length=1, description="elements that share a scale; 0: a scale per tensor or channel"
    )
    scales: list[Annotated[str, AfterValidator(_check_scale)]] = Field(
        default=list(SCALES), min_length=1, description="types of the scales of blocks"
    )
    keep: PositiveInt = Field(default=4, description="most formats that the search takes")
    dot: Annotated[int, Field(ge=1, le=256)] = Field(default=16, description="products per cycle of the priced units")

    @model_validator(mode="after")
    def _range(self) -> GrammarSpec:
        if not 2 <= self.bits[0] <= self.bits[1] <= _MOST_GRAMMAR_BITS:
            raise ValueError(f"bits: 2 <= least <= most <= {_MOST_GRAMMAR_BITS}, found {self.bits}")
        return self


class FormatsSpec(Written):
    """Where formats come from besides `pairs`."""

    grammar: GrammarSpec = Field(description="formats that are drawn from the grammar of names")


class SearchSpec(Written):
    """How long to search, and how many designs to report."""

    evaluations: PositiveInt = Field(default=150, description="candidates to measure, including the uniform designs")
    losses: Literal["log", "linear"] = Field(
        default="log", description="scale of the quality in the acquisition function"
    )
    batch: PositiveInt = Field(default=10, description="candidates proposed at a time")
    front_size: PositiveInt = Field(default=60, description="most designs to report")


class SpaceFile(Written):
    """A search space file."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=512,  # Optuna's databases hold no more
        description="name of the study",
    )
    tasks: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], TaskSpec] = Field(
        min_length=1, description="the networks, by the names that objectives and budgets use"
    )
    pairs: list[str] = Field(default=[], description="weight:activation, the choices of every measured layer")
    formats: FormatsSpec | None = Field(
        default=None, description="formats that are found before the search: each becomes a pair with a unit of its own"
    )
    target: _Target = Field(
        default="", description="runtime that must load the networks; none: any formats, nothing tied"
    )
    hardware: HardwareSpec | None = Field(default=None, description="the chips; without it, formats alone are searched")
    objectives: list[str] = Field(min_length=2, description="what is minimised: TASK.quality and cost metrics")
    budgets: dict[str, _Limit] = Field(
        default={}, description="largest allowed value by name; of a quality also such as 'float + 0.1'"
    )
    accumulator_sqnr_db: PositiveFloat = Field(
        default=30,
        description="no design is reported with a layer whose sums keep less than this in the unit's accumulator",
    )
    search: SearchSpec = Field(default=SearchSpec(), description="how long to search, and how many designs to report")

    @field_validator("pairs")
    @classmethod
    def _known_pairs(cls, pairs: list[str]) -> list[str]:
        return list(dict.fromkeys(_check_pair(p) for p in pairs))

    @property
    def chip(self) -> HardwareSpec:
        """The hardware of the file, or a nominal chip on which no objective and no budget depends."""
        if self.hardware is not None:
            return self.hardware
        pairs = [*self.pairs, *(task.attention for task in self.tasks.values() if task.attention)]
        return HardwareSpec(
            units=UnitSpec(sets=[pairs]), rows=[16], columns=[16], sram_kib=[2048], dram_gib=[_ROOM_GIB]
        )
