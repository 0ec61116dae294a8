"""Layers of low rank: one layer becomes a chain of smaller ones, which hardware runs as layers.

`by_tensors` factors the weights themselves: singular values of linear layers, Tucker-2 (Kim 2016)
and CP (Lebedev 2015) of convolutions. `by_responses` lets a layer's outputs have few dimensions
(Zhang 2015). `Method` names them; `factored` does what one says.
"""

from .by_responses import by_responses
from .by_tensors import by_tensors
from .energy import ranks_by_energy
from .evbmf import evbmf_rank
from .method import Method, factored

__all__ = ["Method", "by_responses", "by_tensors", "evbmf_rank", "factored", "ranks_by_energy"]
