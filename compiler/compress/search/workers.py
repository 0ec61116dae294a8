"""Trials that run side by side, on this machine or on others, through Dask.

A worker that dies costs the trial that it had: another takes it up.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from distributed import CancelledError, Client, KilledWorker, LocalCluster, as_completed
from distributed.utils import silence_logging_cmgr

from ...ir import PenjingError
from .runs import Judge
from .space import Choice, Environment

__all__ = ["workers"]

RETRIES = 3
_PATIENCE_SECONDS = 5
Judged: TypeAlias = Callable[[Choice, float], None]
"""Called with a choice and its accuracy, as soon as that is known."""


@contextmanager
def workers(environment: Environment, judged: Judged, *, count: int | None = None,
            scheduler: str | None = None) -> Iterator[Judge]:
    """What judges choices: ``count`` processes, one for each processor by default, 0 for none.

    Or those of the ``scheduler``, ``tcp://host:port``, who must have this version of Penjing and
    are trusted: what goes over the line is code. What is found does not depend on it.
    `PenjingError` where none can be reached.
    """
    if count is not None and (type(count) is not int or not 0 <= count <= 1024):
        raise PenjingError(f"workers: give a number from 0 to 1024, not {count!r:.40}")
    if count is not None and scheduler is not None:
        raise PenjingError("workers: a scheduler has its own; give one of both")
    if count == 0:
        yield lambda choices: [_alone(environment, choice, judged) for choice in choices]
        return
    with _client(count, scheduler) as client:
        yield lambda choices: _judged_there(client, environment, choices, judged)


def _alone(environment: Environment, choice: Choice, judged: Judged) -> float:
    found = _accuracy(environment, choice)
    judged(choice, found)
    return found


def _accuracy(environment: Environment, choice: Choice) -> float:
    """What `Environment.accuracy` says, on one thread: sums of others may round another way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return environment.accuracy(choice)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _client(count: int | None, scheduler: str | None) -> Iterator[Client]:
    """A client of Dask, and the cluster that it needs."""
    if scheduler is None:
        with _uninterrupted():
            cluster = LocalCluster(n_workers=count or os.cpu_count() or 1, threads_per_worker=1,
                                   dashboard_address=None, silence_logs=logging.CRITICAL)
        with cluster, Client(cluster) as client:
            yield client
        return
    with silence_logging_cmgr(logging.CRITICAL):
        try:
            client = Client(scheduler, timeout=_PATIENCE_SECONDS)
        except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
            raise PenjingError(f"scheduler {scheduler:.80}: it cannot be reached "
                               f"({type(error).__name__}); start one with dask scheduler, or leave "
                               f"it out") from None
        with client:
            try:
                client.wait_for_workers(1, timeout=_PATIENCE_SECONDS)
            except TimeoutError:
                raise PenjingError(f"scheduler {scheduler:.80}: it has no workers; start some with "
                                   f"dask worker {scheduler:.80}") from None
            yield client


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let processes that start meanwhile not hear Ctrl-C, which is for the one that ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _judged_there(client: Client, environment: Environment, choices: Sequence[Choice],
                  judged: Judged) -> list[float]:
    """What `_spread` finds; `PenjingError` where the scheduler is lost."""
    try:
        return _spread(client, environment, choices, judged)
    except OSError:
        if client.status == "running":
            raise
        raise PenjingError("workers: their scheduler is gone; start it again, and the search goes "
                           "on where it was") from None


def _spread(client: Client, environment: Environment, choices: Sequence[Choice],
            judged: Judged) -> list[float]:
    """The accuracies of ``choices``; what is lost with a worker is sent once more."""
    found: dict[int, float] = {}
    for _ in range(RETRIES):
        # Whatever died may have taken the environment along.
        there = client.scatter(environment, broadcast=True, hash=False)
        sent = {client.submit(_accuracy, there, choice, retries=RETRIES, pure=False): number
                for number, choice in enumerate(choices) if number not in found}
        for done in as_completed(sent):
            try:
                found[sent[done]] = done.result()
            except (KilledWorker, CancelledError):
                continue
            judged(choices[sent[done]], found[sent[done]])
        if len(found) == len(choices):
            return [found[number] for number in range(len(choices))]
    raise PenjingError("workers: they died of every trial; there may be too little memory for as "
                       "many, so start fewer")
