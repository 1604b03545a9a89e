"""The `restore` task: one small diffusion U-Net for super-resolution, deblurring, inpainting and outpainting."""

from codesign.models.restore.task import RestoreTask, load

__all__ = ["RestoreTask", "load"]
