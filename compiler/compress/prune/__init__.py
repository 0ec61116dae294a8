"""Pruning: what weights are worth, how many go when, and what keeps them away.

`prune` does it as a schedule says; the parts are of use by themselves: a `Criterion` scores
weights, a `Granularity` makes units of them, an `Amount` says how many are kept, and `Masks` hold
which.
"""

from .amounts import Amount, Below, Each, Outlying, Overall, share_of
from .channels import Activity, Scales, slimming
from .granularity import Granularity
from .hessian import diagonal
from .lasso import is_plain, refit, select_inputs
from .layers import Layer, known, layers_of
from .masks import Masks
from .n_of_m import NofM
from .neurons import without_dead
from .pruning import Pruned, prune
from .schedules import Gradual, Round, geometric
from .scores import L1, L2, Criterion, Deviations, LayerAdaptive, OptimalBrainDamage
from .selection import channel_scores, select, unit_scores
from .sensitivity import Point, Sensitivity, scan
from .tracing import flattened_maps

__all__ = ["L1", "L2", "Activity", "Amount", "Below", "Criterion", "Deviations", "Each", "Gradual",
           "Granularity", "Layer", "LayerAdaptive", "Masks", "NofM", "OptimalBrainDamage",
           "Outlying", "Overall", "Point", "Pruned", "Round", "Scales", "Sensitivity",
           "channel_scores", "diagonal", "flattened_maps", "geometric", "is_plain", "known",
           "layers_of", "prune", "refit", "scan", "select", "select_inputs", "share_of",
           "slimming", "unit_scores", "without_dead"]
