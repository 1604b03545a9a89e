"""Real-scale networks by name. A new one is a file here that registers its builder, imported below."""

from codesign.workload.networks import clip, llama, stable_diffusion, vae  # noqa: F401  (each registers its names)
from codesign.workload.networks.registry import named_workload, workload_names

__all__ = ["named_workload", "workload_names"]
