"""Channels that nobody reads, or that are one value, are taken out of a network, exactly.

`reduce` asks two questions of each channel of each tensor but the input's and the output's:

- Can it be more than one value? Forward, each has an interval, which the weights give, and the ends
  of which requantizations and pools are asked for (`bounds`). Where a constant adds the same to all
  positions of what reads it, the bias takes it (`uses`); else it is read like any other.
- Does anybody read it? Backward, from the output: weights of 0 read nothing, and layers without
  weights read what they make (`channels`). Where channels of several tensors must be as many or the
  same, as in a sum or in the groups of a convolution, they stay or go together; so do the m
  channels of a group where weights are stored n of m, which stays n of m then.

What stays is the least that answers both; of each tensor, one channel at least. The integers of the
output are what they were for every input, and so are its type, and the width, fraction length and
encoding of all weights.

`without` takes channels out that are chosen, whatever they are: what a search asks the cost of.
"""

from __future__ import annotations

from .network import Reduction, reduce
from .removal import without

__all__ = ["Reduction", "reduce", "without"]
