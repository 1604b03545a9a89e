"""Methods of rounding in pairs and assignments: a third word beside the formats."""

from __future__ import annotations

import pytest

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.formats.assignment import AssignmentError, parse_assignment


@pytest.mark.parametrize("text", ["int4_g32:int8+gptq", "int4_g32:int8 + gptq", " int4_g32 : int8 +gptq "])
def test_a_pair_is_read_with_its_method(text: str) -> None:
    pair = FormatPair.parse(text)
    assert pair == FormatPair("int4_g32", "int8", "gptq")
    assert str(pair) == "int4_g32:int8+gptq"
    assert pair.formats == FormatPair("int4_g32", "int8")


def test_the_nearest_is_the_method_of_a_pair_without_one() -> None:
    assert FormatPair.parse("int8+nearest") == FormatPair.parse("int8") == FormatPair("int8", "int8")


def test_an_unknown_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown method .gtpq.*gptq"):
        FormatPair.parse("int4+gtpq").checked()


def test_the_method_is_a_layers_own_and_no_attention_has_one() -> None:
    pair = FormatPair.parse("int4_g32:int8+gptq")
    assignment = Assignment.of_pairs({"a": pair, "b": pair}, {"a": "linear", "b": "attention"})
    assert assignment.to_dict() == {
        "a": {"weight": "int4_g32", "activation": "int8", "method": "gptq"},
        "b": {"activation": "int8", "key": "int4_g32", "value": "int4_g32"},
    }
    assert Assignment.from_dict(assignment.to_dict()) == assignment == parse_assignment(assignment.to_dict())
    assert assignment["a"].choice == pair
    assert assignment["a"].roles == {"weight": "int4_g32", "activation": "int8"}
    assert assignment["a"].pair("linear") == pair.formats


def test_a_method_makes_another_assignment_and_the_nearest_the_same() -> None:
    nearest, named, gptq = (
        Assignment.of({"a": LayerFormats("int8", "int4", method=method)}) for method in ("nearest", "nearest", "gptq")
    )
    assert nearest.digest() == named.digest() != gptq.digest()
    assert "method" not in nearest.to_dict()["a"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"weight": "int4", "activation": "int8", "method": "gtpq"}, "method: unknown method 'gtpq'"),
        ({"weight": "int4", "activation": "int8", "method": 3}, "method: expected a method, found int"),
        ({"key": "int4", "value": "int4", "activation": "int8", "method": "gptq"}, "method goes with a weight"),
        ({"weight": "int4", "activation": "int8", "methd": "gptq"}, "unknown key 'methd'"),
    ],
)
def test_a_wrong_method_is_refused_by_layer_and_key(written: dict[str, object], said: str) -> None:
    with pytest.raises(AssignmentError, match=said) as caught:
        parse_assignment({"a": written})
    assert caught.value.location[0] == "a"
