"""Drawn tiles of a network: operands that a unit read in the evaluation, simulated as Verilog."""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codesign.errors import InputError
from codesign.export.certificate.network import Multiplied, UnitNetwork
from codesign.hardware.chip.accelerator import Accelerator
from codesign.hardware.rtl.emit.array import Array as Cells
from codesign.hardware.rtl.emit.array import array
from codesign.hardware.rtl.verify.array_bench import ArrayCheck, InTurn, Matrices
from codesign.hardware.rtl.verify.products import Codes, Products
from codesign.hardware.rtl.verify.simulate import Verdict, simulate
from codesign.hardware.rtl.verify.twin import Array, Floats
from codesign.hardware.rtl.verify.vectors import twin_of

Stored = dict[str, Array]


@dataclass(frozen=True)
class Tile:
    """Some rows of both operands of a product, and what the network got for them."""

    layer: str
    kind: str
    mode: int
    weight: Codes  # one matrix [1, N, K]
    activation: Codes  # [1, M, K]
    results: Floats  # values of the accumulators, [M, N]

    @property
    def operands_sha256(self) -> str:
        """Of all codes."""
        parts = (self.weight.codes, self.weight.scale_codes, self.activation.codes, self.activation.scale_codes)
        return sha256(*(part.astype(np.int64) for part in parts if part is not None))

    @property
    def results_sha256(self) -> str:
        """Of the results, as float64."""
        return sha256(self.results)

    def differing(self, results: Floats) -> int:
        """Results that are not the tile's, bit for bit."""
        return int((self.results.view(np.int64) != np.ascontiguousarray(results).view(np.int64)).sum())

    def stored(self, name: str) -> Stored:
        """Its arrays, as safetensors holds them."""
        parts = {"weight": self.weight, "activation": self.activation}
        found = {f"{name}.{side}": each.codes[0].astype(np.int32) for side, each in parts.items()}
        found |= {
            f"{name}.{side}_scale": each.scale_codes[0].astype(np.int32)
            for side, each in parts.items()
            if each.scale_codes is not None
        }
        return found | {f"{name}.results": self.results}

    @classmethod
    def of(cls, layer: str, kind: str, mode: int, name: str, stored: Mapping[str, Array]) -> Tile:
        """Inverse of `stored`; raises InputError if an array is missing."""

        def codes(side: str) -> Codes:
            scales = stored.get(f"{name}.{side}_scale")
            return Codes(stored[f"{name}.{side}"][None], None if scales is None else scales[None])

        try:
            return cls(layer, kind, mode, codes("weight"), codes("activation"), stored[f"{name}.results"])
        except KeyError as error:
            raise InputError(f"no array {error} of a tile of layer '{layer}'") from None


class Draw:
    """Chooses tiles while a network runs: of some layers of each (mode, kind of product), in their first call.

    Which layers, which matrix of a batch, which rows and columns: by the seed.
    """

    def __init__(self, network: UnitNetwork, chip: Accelerator, each: int, seed: int) -> None:
        self.tiles: list[Tile] = []
        self._cells, self._seed = cells_of(chip), seed
        kinds: dict[tuple[int, str], list[str]] = defaultdict(list)
        for layer in network.scored.layers.values():
            names = ("attention_qk", "attention_pv") if layer.kind == "attention" else (layer.kind,)
            for kind in names:
                kinds[network.mode_of(layer.name, kind), kind].append(layer.name)
        self._wanted = set[tuple[str, str]]()
        for (mode, kind), layers in sorted(kinds.items()):
            drawn = self._random(f"{mode} {kind}").permutation(len(layers))[:each]
            self._wanted |= {(layers[i], kind) for i in drawn}

    def __call__(self, ran: Multiplied) -> None:
        """Take a tile of what ran, if it is one of the chosen products."""
        key = ran.layer, ran.kind
        if key not in self._wanted:
            return
        self._wanted.remove(key)
        random = self._random(" ".join(key))
        rows, columns = corner(self._cells, ran.mode)
        values = ran.values.numpy()
        batch, m, n = values.shape
        b = int(random.integers(batch))
        at_m, at_n = (np.sort(random.permutation(size)[:most]) for size, most in ((m, rows), (n, columns)))
        self.tiles.append(
            Tile(
                ran.layer,
                ran.kind,
                ran.mode,
                ran.weight.rows(b, at_n),
                ran.activation.rows(b, at_m),
                np.ascontiguousarray(values[b][np.ix_(at_m, at_n)]),
            )
        )

    def _random(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, zlib.crc32(name.encode())])


def cells_of(chip: Accelerator) -> Cells:
    """The output-stationary array of a chip."""
    return array(chip.unit.rtl, chip.rows, chip.columns, "output")


def corner(cells: Cells, mode: int) -> tuple[int, int]:
    """Rows of activations, and of weights, that the simulated corner of an array holds at a time."""
    check = ArrayCheck(cells, mode, Matrices(np.zeros((1, 1, 1)), np.zeros((1, 1, 1))))
    return check.rows * cells.interleave(mode), check.columns


def sources_of(cells: Cells) -> dict[str, str]:
    """The Verilog of an array, by file."""
    return {"array.v": cells.text, "unit.v": cells.built.text}


def by_twin(cells: Cells, tiles: Sequence[Tile]) -> list[Floats]:
    """The results of tiles [M, N], computed again by the twin step by step."""
    products = {mode: Products(twin_of(cells.unit, mode, 1)) for mode in {tile.mode for tile in tiles}}
    return [products[tile.mode].by_twin(tile.weight, tile.activation)[0] for tile in tiles]


def simulated(cells: Cells, tiles: Sequence[Tile], simulator: str, folder: Path) -> Verdict:
    """How many rows of the tiles' results were compared with the twin's, and how many differ."""
    checks = InTurn(tuple(ArrayCheck(cells, tile.mode, _matrices(cells, tile)) for tile in tiles))
    return simulate(simulator, [checks], sources_of(cells), folder)[0]


def _matrices(cells: Cells, tile: Tile) -> Matrices:
    products = Products(twin_of(cells.unit, tile.mode, 1))
    (w, w_scale), (a, a_scale) = (
        products.steps(codes, side)
        for codes, side in ((tile.weight, products.mode.weight), (tile.activation, products.mode.activation))
    )
    scales = (None if x is None else x[0].astype(np.int64) for x in (w_scale, a_scale))
    return Matrices(w[0].astype(np.int64), a[0].astype(np.int64), *scales)


def sha256(*arrays: Array) -> str:
    """Of the shapes and bytes of arrays."""
    found = hashlib.sha256()
    for each in arrays:
        found.update(f"{each.dtype.str}{list(each.shape)}".encode())
        found.update(np.ascontiguousarray(each).tobytes())
    return found.hexdigest()
