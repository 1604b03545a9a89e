"""What runtimes can load: the formats, block sizes and fused layers of each deployment target, as data with sources."""

from codesign.targets.target import Layer, Target, get_target, layers_of, target_names

__all__ = ["Layer", "Target", "get_target", "layers_of", "target_names"]
