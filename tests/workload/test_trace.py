"""What `trace` writes down, against numbers worked out by hand and against torch's own counter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from codesign.errors import InputError
from codesign.workload import Operator, trace
from tests.workload.networks import SelfAttention, SmallNet

STYLES = ["fused", "matmul", "bmm", "baddbmm", "einsum", "einsum-ellipsis"]


def only(module: nn.Module, *inputs: Tensor, **options: str) -> Operator:
    (operator,) = trace(module, inputs, **options).operators
    return operator


def shape(op: Operator) -> tuple[int, int, int, int]:
    return op.m, op.n, op.k, op.count


def test_a_convolution_is_an_implicit_gemm() -> None:
    op = only(nn.Conv2d(6, 10, 3, padding=1), torch.randn(2, 6, 8, 8))
    assert shape(op) == (2 * 8 * 8, 10, 6 * 9, 1)
    assert (op.input_elements, op.stationary_elements, op.output_elements) == (2 * 6 * 64, 10 * 6 * 9, 2 * 10 * 64)
    assert op.kind == "conv"


def test_stride_and_dilation_change_only_the_rows() -> None:
    strided = only(nn.Conv2d(6, 10, 3, stride=2, padding=1), torch.randn(1, 6, 9, 7))
    dilated = only(nn.Conv2d(6, 10, 3, dilation=2), torch.randn(1, 6, 9, 7))
    assert shape(strided) == (5 * 4, 10, 54, 1)
    assert shape(dilated) == (5 * 3, 10, 54, 1)


def test_groups_split_channels_in_and_out() -> None:
    op = only(nn.Conv2d(6, 10, (1, 3), groups=2), torch.randn(1, 6, 4, 6))
    assert shape(op) == (4 * 4, 5, 9, 2)
    assert op.macs == 4 * 4 * 10 * 9


@pytest.mark.parametrize(("conv", "pixels"), [(nn.Conv1d, (9,)), (nn.Conv3d, (5, 4, 3))])
def test_convolutions_of_any_rank_are_seen(conv: type[nn.Module], pixels: tuple[int, ...]) -> None:
    op = only(conv(2, 4, 1), torch.randn(3, 2, *pixels))
    assert shape(op) == (3 * torch.Size(pixels).numel(), 4, 2, 1)


def test_an_image_without_a_batch_axis_is_a_batch_of_one() -> None:
    conv = nn.Conv2d(6, 10, 3)
    assert only(conv, torch.randn(6, 8, 8)) == only(conv, torch.randn(1, 6, 8, 8))


def test_a_transposed_convolution_has_a_row_per_input_pixel() -> None:
    op = only(nn.ConvTranspose2d(6, 10, 4, stride=2, padding=1, groups=2), torch.randn(1, 6, 5, 5))
    assert shape(op) == (25, 5 * 16, 3, 2)
    assert op.output_elements == 10 * 10 * 10


def test_a_linear_layer_takes_all_leading_axes_as_rows() -> None:
    op = only(nn.Linear(7, 3), torch.randn(2, 5, 7))
    assert shape(op) == (10, 3, 7, 1)
    assert (op.input_elements, op.stationary_elements, op.output_elements) == (70, 21, 30)


def test_a_weight_multiplied_by_hand_is_a_linear_layer_named_by_its_parameter() -> None:
    class ByHand(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.right, self.left = nn.Parameter(torch.randn(7, 3)), nn.Parameter(torch.randn(4, 3))
            self.inner = nn.ModuleDict({"proj": nn.Linear(4, 6)})

        def forward(self, x: Tensor) -> Tensor:
            y = (x @ self.right).transpose(-1, -2)  # [2, 3, 5]
            y = torch.matmul(self.left, y).transpose(-1, -2)
            return torch.einsum("btk,nk->btn", y, self.inner["proj"].weight)

    operators = trace(ByHand(), torch.randn(2, 5, 7)).operators
    assert [op.layer for op in operators] == ["right", "left", "inner.proj"]
    assert {op.kind for op in operators} == {"linear"}
    assert [shape(op) for op in operators] == [(10, 3, 7, 1), (10, 4, 3, 1), (10, 6, 4, 1)]


def test_slices_of_one_parameter_are_layers_of_their_own() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.packed = nn.Linear(4, 6, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.packed.weight.split([2, 4])
            return F.linear(x, a).sum() + F.linear(x, b).sum()

    assert trace(Packed(), torch.randn(3, 4)).layers == ("packed#0-2", "packed#2-6")


@pytest.mark.parametrize("style", STYLES)
def test_attention_has_two_products_however_it_is_written(style: str) -> None:
    workload = trace(nn.ModuleDict({"attn": SelfAttention(style)})["attn"], torch.randn(2, 5, 16))
    qk, pv = (op for op in workload.operators if op.is_attention)
    assert (qk.kind, pv.kind) == ("attention_qk", "attention_pv")
    assert shape(qk) == (5, 5, 4, 8)
    assert shape(pv) == (5, 4, 5, 8)
    assert (qk.input_elements, qk.stationary_elements, qk.output_elements) == (160, 160, 200)
    assert (pv.input_elements, pv.stationary_elements, pv.output_elements) == (200, 160, 160)


def test_attention_is_named_after_the_innermost_module() -> None:
    assert trace(SmallNet(), torch.randn(1, 3, 8, 8)).layer_kinds() == {
        "conv_in": "conv",
        "depthwise": "conv",
        "attn.to_q": "linear",
        "attn.to_k": "linear",
        "attn.to_v": "linear",
        "attn": "attention",
        "head": "linear",
    }


class Grouped(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[-2] > 1, enable_gqa=True)


def test_grouped_queries_share_few_keys_and_causality_is_counted_in_full() -> None:
    q, k, v = torch.randn(2, 8, 6, 4), torch.randn(2, 2, 6, 4), torch.randn(2, 2, 6, 3)
    qk, pv = trace(Grouped(), (q, k, v)).operators
    assert shape(qk) == (6, 6, 4, 16)
    assert shape(pv) == (6, 3, 6, 16)
    assert (qk.stationary_elements, pv.stationary_elements) == (2 * 2 * 6 * 4, 2 * 2 * 6 * 3)


def test_a_prefill_writes_every_key_and_value_and_reads_none() -> None:
    q, k = torch.randn(1, 8, 6, 4), torch.randn(1, 2, 6, 4)
    qk, pv = trace(Grouped(), (q, k, k), phase="prefill").operators
    assert (qk.kv_write_elements, qk.kv_read_elements) == (2 * 6 * 4, 0)
    assert (pv.kv_write_elements, pv.kv_read_elements) == (2 * 6 * 4, 0)


def test_a_decode_step_writes_one_token_and_reads_those_before_it() -> None:
    q, k, v = torch.randn(1, 8, 1, 4), torch.randn(1, 2, 10, 4), torch.randn(1, 2, 10, 3)
    qk, pv = trace(Grouped(), (q, k, v), phase="decode").operators
    assert (qk.kv_write_elements, qk.kv_read_elements) == (2 * 4, 2 * 9 * 4)
    assert (pv.kv_write_elements, pv.kv_read_elements) == (2 * 3, 2 * 9 * 3)


def test_other_phases_have_no_cache() -> None:
    operators = trace(SelfAttention(), torch.randn(1, 5, 16), phase="denoise").operators
    assert all(op.kv_read_elements == op.kv_write_elements == 0 for op in operators)


def test_a_layer_that_runs_twice_with_one_shape_is_one_operator_with_two_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = SelfAttention("matmul")

        def forward(self, x: Tensor) -> Tensor:
            return self.attn(self.attn(x)[:, :3]) + self.attn(x)[:, :3]

    workload = trace(Twice(), torch.randn(1, 5, 16))
    assert [(op.m, op.calls) for op in workload.operators if op.layer == "attn.to_q"] == [(5, 2), (3, 1)]
    assert [(op.m, op.calls) for op in workload.operators if op.kind == "attention_pv"] == [(5, 2), (3, 1)]


def test_a_second_pair_of_products_in_one_call_is_a_layer_of_its_own() -> None:
    class TwoPairs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            once = (x @ x.transpose(-1, -2)).softmax(-1) @ x
            return F.scaled_dot_product_attention(once, x, x)

    assert trace(TwoPairs(), torch.randn(2, 5, 4)).layers == ("root", "root#1")


def test_a_fused_attention_after_a_lone_product_is_a_pair_of_its_own() -> None:
    class LoneThenPair(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bias = x @ x.transpose(-1, -2)
            return F.scaled_dot_product_attention(x, x, x, attn_mask=bias)

    kinds = [(op.layer, op.kind) for op in trace(LoneThenPair(), torch.randn(2, 5, 4)).operators]
    assert kinds == [("root", "attention_qk"), ("root#1", "attention_qk"), ("root#1", "attention_pv")]


def test_probabilities_on_the_right_are_still_the_streamed_operand() -> None:
    class Columns(nn.Module):
        """Channels first, as the first latent diffusion code wrote its attention."""

        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            p = torch.bmm(q.transpose(1, 2), k).softmax(-1)  # [B, L, S]
            return torch.bmm(v, p.transpose(1, 2))  # [B, C, S] x [B, S, L]

    qk, pv = trace(Columns(), (torch.randn(2, 4, 7), torch.randn(2, 4, 5), torch.randn(2, 3, 5))).operators
    assert shape(qk) == (7, 5, 4, 2)
    assert shape(pv) == (7, 3, 5, 2)
    assert (pv.input_elements, pv.stationary_elements) == (2 * 7 * 5, 2 * 3 * 5)


def test_outer_products_are_no_matrix_products() -> None:
    class Rotary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("frequencies", torch.rand(2))
            self.attn = SelfAttention("matmul")

        def forward(self, x: Tensor) -> Tensor:
            positions = torch.arange(x.shape[1], device=x.device).float()
            angles = positions[:, None] @ self.frequencies[None, :]
            angles = angles + torch.einsum("i,j->ij", positions, self.frequencies)
            return self.attn(x) * angles.sum()

    assert "root" not in trace(Rotary(), torch.randn(1, 5, 16)).layers


def test_torch_multihead_attention_is_seen_from_inside() -> None:
    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mha = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.mha(x, x, x, need_weights=False)[0]

    workload = trace(Cross(), torch.randn(1, 5, 16))
    assert workload.layers == ("mha.in_proj_weight", "mha", "mha.out_proj")
    assert workload.macs() == 5 * 48 * 16 + 2 * (5 * 5 * 16) + 5 * 16 * 16


def test_a_tied_weight_carries_the_name_of_the_module_that_multiplies_it() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(11, 4), nn.Linear(4, 11, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embed(tokens))

    tokens = torch.zeros(1, 3, dtype=torch.long)
    workload = trace(Tied(), tokens)
    assert workload.layers == ("head",)
    assert workload.parameters == 44
    assert trace(Tied(), tokens.to("meta")) == workload


def test_a_computed_weight_carries_the_name_of_its_module() -> None:
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.ReLU())
    assert trace(module, torch.randn(1, 3, 5, 5)).layers == ("0",)


@pytest.mark.parametrize("style", ["matmul", "einsum"])
def test_total_macs_agree_with_torchs_flop_counter(style: str) -> None:
    module, x = SmallNet(style).eval(), torch.randn(2, 3, 8, 8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    assert trace(module, x).macs() == counter.get_total_flops() / 2 > 0


@pytest.mark.parametrize("style", STYLES)
def test_the_meta_device_gives_the_same_workload_as_the_cpu(style: str) -> None:
    module, x = SmallNet(style), torch.randn(2, 3, 8, 8)
    on_cpu = trace(module, x)
    assert trace(module, x.to("meta")) == on_cpu
    assert trace(module.to("meta"), x.to("meta")) == on_cpu


def test_a_trace_leaves_the_module_as_it_was() -> None:
    module = SmallNet().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trace(module, torch.randn(2, 3, 8, 8))
    assert all(m.training for m in module.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_inputs_may_be_a_tensor_a_tuple_or_keywords() -> None:
    x = torch.randn(2, 3, 8, 8)
    assert trace(SmallNet(), x) == trace(SmallNet(), (x,)) == trace(SmallNet(), {"x": x})


def test_repeats_belong_to_the_phase() -> None:
    workload = trace(nn.Linear(2, 2), torch.randn(1, 2), phase="denoise", repeats=4)
    assert workload.repeats == {"denoise": 4}
    assert (workload.macs("denoise"), workload.macs()) == (4, 16)


def test_an_unsupported_product_names_module_and_function() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0]

    with pytest.raises(InputError, match=r"module 'rnn': unsupported matrix product lstm .* write it with those"):
        trace(Recurrent(), torch.randn(2, 1, 4))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_transposed_view_of_a_parameter_is_known_in_every_grad_mode(mode: type) -> None:
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            with mode():
                return torch.mm(x, self.kernel.t())

    assert trace(Transposed(), torch.randn(2, 4)).layer_kinds() == {"kernel": "linear"}


def test_a_module_without_products_is_refused() -> None:
    with pytest.raises(InputError, match="no convolution, linear or attention"):
        trace(nn.ReLU(), torch.randn(3))
