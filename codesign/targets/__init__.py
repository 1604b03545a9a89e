"""What runtimes can load: the formats, block sizes and fused layers of each deployment target, as data with sources."""

from codesign.targets.target import NONE, Layer, Target, check_target, get_target, layers_of, target_names

__all__ = ["NONE", "Layer", "Target", "check_target", "get_target", "layers_of", "target_names"]
