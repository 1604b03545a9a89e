"""The `rewrite` task: a small language model that makes messages polite, casual or short."""

from codesign.models.rewrite.task import RewriteTask, load

__all__ = ["RewriteTask", "load"]
