"""Rounding a weight so that the layer's output changes least, rather than each of its numbers.

clip   scales are searched: those that lose least on the layer's inputs
gptq   the same, and numbers are rounded one after the other, so that each makes up for the errors of those before it
descent  as gptq, and then each number again, with all others known
"""

from codesign.quality.rounding.chosen import ChosenWeights

__all__ = ["ChosenWeights"]
