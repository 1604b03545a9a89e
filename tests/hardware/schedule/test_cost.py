"""Cost of a network: sums, the vectorised tables, and the mistakes that a user can make."""

from __future__ import annotations

import json

import numpy as np
import pytest

from codesign.errors import InputError
from codesign.formats import Assignment, LayerFormats
from codesign.hardware import AcceleratorGrid, cost, cost_tables
from codesign.workload.types import Workload
from tests.hardware.cases import BF16, FP8, INT8, W4A8, chip, decoder, linear, unet, uniform

PAIRS = (INT8, W4A8, BF16, FP8)


def grid() -> AcceleratorGrid:
    return AcceleratorGrid.from_ranges(
        pair_sets=[PAIRS, (INT8, W4A8), (FP8,), (BF16, INT8)],
        dot=[8, 32],
        rows=[4, 16],
        columns=[8],
        sram_bytes=[32 * 1024, 2**20],
        dram=["lpddr5", "lpddr6_14400"],
        dram_channels=[1, 2],
    )


def assignment(workload: Workload, choice: np.ndarray) -> Assignment:
    kinds = workload.layer_kinds()
    named = zip(workload.layers, choice, strict=True)
    return Assignment.of({n: LayerFormats.of_pair(PAIRS[c], attention=kinds[n] == "attention") for n, c in named})


@pytest.mark.slow
@pytest.mark.parametrize("workload", [unet(), decoder()], ids=lambda w: w.name)
def test_vectorised_tables_equal_the_cost_of_each_design(workload: Workload) -> None:
    machines, rng = grid(), np.random.default_rng(0)
    tables = cost_tables(workload, machines, PAIRS)
    for index in rng.choice(len(machines), 12, replace=False):
        usable = np.flatnonzero(tables.supported[index])
        choice = rng.choice(usable, len(workload.layers))
        found = cost(workload, machines[int(index)], assignment(workload, choice))
        for field, value in tables.evaluate(choice[None], np.array([index])).items():
            one = found.latency_per_pass_s["decode"] if field == "latency_per_token_s" else getattr(found, field)
            assert value[0, 0] == pytest.approx(one, rel=1e-6), field
        for phase, seconds in tables.latency_per_pass(choice[None], np.array([index])).items():
            assert seconds[0, 0] == pytest.approx(found.latency_per_pass_s[phase], rel=1e-6)


def test_paired_totals_are_the_diagonal_of_all_totals() -> None:
    tables = cost_tables(unet(), grid(), PAIRS)
    members = np.array([0, 3, 9, 20, 31])
    choice = np.random.default_rng(1).integers(0, 4, (5, len(tables.layers)))
    fields = ["latency_s", "energy_j", "dram_bytes", "dram_capacity_bytes", "weight_bytes", "bitops", "area_mm2"]
    whole = tables.totals(fields, choice, members)
    for field, values in tables.totals(fields, choice, members, paired=True).items():
        np.testing.assert_allclose(values, np.diagonal(whole[field]))


@pytest.mark.parametrize(
    "field", ["latency_s", "energy_j", "dram_bytes", "weight_bytes", "bitops", "latency_per_token_s"]
)
def test_totals_are_sums_of_the_additive_entries(field: str) -> None:
    tables = cost_tables(decoder(), grid(), PAIRS)
    members = np.flatnonzero(tables.supported.all(axis=1))[:5]
    choice = np.random.default_rng(2).integers(0, 4, (3, len(tables.layers)))
    entries = tables.additive(field, members)
    for s, row in enumerate(choice):
        expected = entries[:, np.arange(len(row)), row].sum(axis=1)
        np.testing.assert_allclose(tables.totals([field], choice, members)[field][:, s], expected, rtol=1e-5)


def test_table_axes_are_phases_accelerators_layers_pairs() -> None:
    tables, machines = cost_tables(decoder(), grid(), PAIRS), grid()
    a, layers, c = len(machines), len(decoder().layers), len(PAIRS)
    assert tables.latency_s.shape == (2, a, layers, c)
    assert tables.energy_j.shape == tables.dram_bytes.shape == tables.result_latency_s.shape == (a, layers, c)
    assert tables.weight_bytes.shape == tables.bitops.shape == (layers, c)
    assert tables.supported.shape == (a, c)
    assert tables.area_mm2.shape == (a,)


def test_unsupported_pairs_cost_infinitely_much() -> None:
    tables = cost_tables(unet(), grid(), PAIRS)
    missing = ~tables.supported
    assert missing.any()
    assert np.isinf(tables.result_latency_s.transpose(0, 2, 1)[missing]).all()
    assert np.isfinite(tables.result_latency_s.transpose(0, 2, 1)[tables.supported]).all()


def test_layers_and_components_add_up_to_the_totals() -> None:
    found = cost(decoder(), chip(), uniform(decoder(), INT8))
    assert sum(layer.latency_s for layer in found.layers) == pytest.approx(found.latency_s)
    assert sum(layer.energy_j for layer in found.layers) == pytest.approx(found.energy_j)
    assert sum(layer.dram_bytes for layer in found.layers) == pytest.approx(found.dram_bytes)
    assert sum(layer.macs for layer in found.layers) == found.macs
    assert sum(part.area_mm2 for part in found.components) == pytest.approx(found.area_mm2)
    assert sum(part.energy_j for part in found.components) == pytest.approx(found.energy_j)
    assert found.area_low_mm2 < found.area_mm2 < found.area_high_mm2


def test_latency_of_a_result_is_its_passes() -> None:
    found = cost(decoder(), chip(), uniform(decoder(), INT8))
    passes = found.latency_per_pass_s
    assert found.latency_s == pytest.approx(passes["prefill"] + 16 * passes["decode"])


def test_utilisation_lies_between_zero_and_one() -> None:
    for pair in PAIRS:
        found = cost(unet(), chip(*PAIRS), uniform(unet(), pair))
        assert all(0 < layer.utilisation <= 1 for layer in found.layers)
        assert all(layer.bound in ("compute", "sram", "dram", "vector") for layer in found.layers)


def test_weights_and_bit_operations_by_hand() -> None:
    """70,000 parameters: 64 x 256 + 256 x 64 + 512 x 64 in layers, the rest in bf16. Blocks of keys run along the 16
    elements of a head, each with a scale of 16 bits (5 bits per element); those of values along 40 tokens, two scales
    (4.8 bits)."""
    network = decoder()
    found = cost(network, chip(W4A8), uniform(network, W4A8))
    assert found.weight_bytes == pytest.approx(65536 * 4.5 / 8)
    assert found.bitops == network.macs() * 4 * 8
    cache = 40 * 16 * 4 * (5 + 4.8) / 8
    peak = 24 * (64 + 256)
    assert found.dram_capacity_bytes == pytest.approx(65536 * 4.5 / 8 + 2 * (70_000 - 65536) + cache + peak)


def test_four_bit_weights_lower_traffic_capacity_energy_and_latency() -> None:
    network, accelerator = decoder(), chip(INT8, W4A8, sram_bytes=32 * 1024)
    wide, narrow = (cost(network, accelerator, uniform(network, pair)) for pair in (INT8, W4A8))
    for field in ("dram_bytes", "dram_capacity_bytes", "energy_j", "latency_s", "weight_bytes"):
        assert getattr(narrow, field) < getattr(wide, field)


def test_cost_is_written_as_json_with_the_contract_keys() -> None:
    record = json.loads(json.dumps(cost(unet(), chip(), uniform(unet(), INT8)).to_dict()))
    keys = {"parameters", "macs", "area_mm2", "area_low_mm2", "area_high_mm2", "latency_s", "latency_per_pass_s"}
    keys |= {"energy_j", "dram_bytes", "dram_capacity_bytes", "weight_bytes", "bitops", "layers", "components"}
    assert set(record) == keys
    layer = {"name", "kind", "pair", "macs", "latency_s", "bound", "energy_j", "dram_bytes", "utilisation"}
    assert set(record["layers"][0]) == layer


def test_key_and_value_may_differ_in_format() -> None:
    network = unet()
    formats = dict(uniform(network, INT8).layers)
    formats["attention"] = LayerFormats(activation="int8", key="int8", value="int4_g32")
    found = cost(network, chip(INT8, W4A8), Assignment.of(formats))
    assert next(x for x in found.layers if x.name == "attention").pair == "int8:int8 int4_g32:int8"


def test_an_unsupported_pair_names_layer_pair_and_what_is_supported() -> None:
    with pytest.raises(InputError, match=r"layer 'conv_in' needs bf16:bf16, which chip lacks; it supports int8:int8"):
        cost(unet(), chip(), uniform(unet(), BF16))


def test_a_missing_layer_is_named() -> None:
    formats = {n: f for n, f in uniform(unet(), INT8).layers if n != "deep"}
    with pytest.raises(InputError, match="no formats for layer 'deep'"):
        cost(unet(), chip(), Assignment.of(formats))


def test_an_unknown_layer_is_named_with_the_nearest() -> None:
    formats = dict(uniform(unet(), INT8).layers) | {"conv_inn": LayerFormats("int8", "int8")}
    with pytest.raises(InputError, match="no layer 'conv_inn'; did you mean 'conv_in'"):
        cost(unet(), chip(), Assignment.of(formats))


def test_an_attention_layer_without_key_format_is_refused() -> None:
    formats = dict(uniform(unet(), INT8).layers) | {"attention": LayerFormats("int8", "int8")}
    with pytest.raises(InputError, match="attention"):
        cost(unet(), chip(), Assignment.of(formats))


def test_a_choice_of_the_wrong_length_is_refused() -> None:
    tables = cost_tables(unet(), grid(), PAIRS)
    with pytest.raises(InputError, match="choice must have shape"):
        tables.evaluate(np.zeros((1, 2), dtype=int))


def test_an_unknown_field_is_refused() -> None:
    tables = cost_tables(unet(), grid(), PAIRS)
    with pytest.raises(InputError, match="unknown cost field 'speed'"):
        tables.totals(["speed"], np.zeros((1, len(tables.layers)), dtype=int))


def test_nothing_to_price_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to price"):
        cost_tables(unet(), grid(), [])
    with pytest.raises(InputError, match="without operators"):
        cost(Workload("empty", ()), chip(), Assignment.of({}))


def test_the_kv_cache_counts_towards_capacity_only_with_decoding() -> None:
    with_cache = cost_tables(decoder(), grid(), PAIRS)
    assert with_cache.kv_bytes[:, 0].sum() == 2 * 40 * 16 * 4
    assert cost_tables(unet(), grid(), PAIRS).kv_bytes.sum() == 0


def test_an_sram_that_holds_no_tile_is_refused_with_what_would_do() -> None:
    work = Workload("big", (linear("up", 4096, 4096, 4096),))
    with pytest.raises(InputError, match=r"512 bytes of SRAM hold no tile of layer 'up' in int8:int8; .* 0.75 KiB"):
        cost(work, chip(sram_bytes=512), uniform(work, INT8))
    assert cost(work, chip(sram_bytes=768), uniform(work, INT8)).latency_s > 0
