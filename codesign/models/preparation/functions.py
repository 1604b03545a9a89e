"""What torch's functions do to the channels of a value, by the names of a `Record`."""

from __future__ import annotations

# tell something about a tensor that no change of its values changes
HARMLESS = frozenset(
    (
        *("size", "dim", "numel", "stride", "data_ptr", "get_device", "element_size", "storage_offset", "len"),
        *("type", "ndimension", "untyped_storage", "repr", "format", "nelement", "is_floating_point", "is_complex"),
        *("is_contiguous", "has_names", "requires_grad", "register_hook"),
    )
)
# rearrange elements; run on labels
MOVES = frozenset(
    (
        *("view", "reshape", "transpose", "permute", "flatten", "unflatten", "unsqueeze", "squeeze", "chunk", "split"),
        *("tensor_split", "unbind", "narrow", "select", "expand", "expand_as", "repeat", "repeat_interleave"),
        *("getitem", "swapaxes", "swapdims", "movedim", "moveaxis", "cat", "concat", "stack", "T", "mT", "t"),
        *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "roll", "flip", "index_select", "view_as"),
        *("reshape_as", "hstack", "vstack"),
    )
)
DROPOUTS = frozenset(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout"))
COPIES = frozenset(
    (
        *("contiguous", "clone", "detach", "to", "float", "type_as", "type", "double", "half", "bfloat16"),
        *("identity", "alias", "requires_grad"),
    )
)
# f(s x) = s f(x) for s > 0
POSITIVE = frozenset(("relu", "leaky_relu", "prelu"))
# over the axes behind the channels: linear in each channel, or the largest of a few elements of it
SPATIAL = {
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d", "interpolate", "upsample", "pad"), "linear"),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"), "linear"),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d"), "positive"),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool3d"), "positive"),
}
REDUCTIONS = {"mean": "linear", "sum": "linear", "amax": "positive"}
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
