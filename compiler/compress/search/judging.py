"""A trial, judged alike wherever that is done."""

from __future__ import annotations

import torch

from .space import Choice, Environment

__all__ = ["accuracy"]


def accuracy(environment: Environment, choice: Choice) -> float:
    """What `Environment.accuracy` says, on one thread: sums of others may round another way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return environment.accuracy(choice)
    finally:
        torch.set_num_threads(threads)
