"""Work that is done side by side, on this machine or on others, through Dask.

A worker that dies costs what it was at: another takes that up.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..compiler.ir import NotInstalled, PenjingError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Workers", "check_workers", "workers"]

RETRIES = 3
_MOST = 1024
_PATIENCE_SECONDS = 5
_EXTRA = "workers"

Given = TypeVar("Given")
Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Workers:
    """Those of the ``client``, or this process alone where there is none."""

    client: Client | None = None

    def each(self, work: Callable[[Given, Item], Found], given: Given, items: Sequence[Item],
             done: Callable[[Item, Found], None]) -> list[Found]:
        """What ``work`` makes of ``given``, which every worker gets once, and of each of ``items``.

        ``done`` is called with an item and what became of it, as soon as that is known. All that
        is sent must be such as can be pickled.
        """
        if self.client is not None:
            return _sent(self.client, work, given, items, done)
        found = []
        for item in items:
            found.append(work(given, item))
            done(item, found[-1])
        return found


def check_workers(count: int | None, scheduler: str | None) -> None:
    """`PenjingError` unless they are such as `workers` takes."""
    if count is not None and (type(count) is not int or not 0 <= count <= _MOST):
        raise PenjingError(f"workers: give a number from 0 to {_MOST}, not {count!r:.40}")
    if count is not None and scheduler is not None:
        raise PenjingError("workers: a scheduler has its own; give one of both")


@contextmanager
def workers(count: int | None = None, scheduler: str | None = None) -> Iterator[Workers]:
    """``count`` processes, one for each processor by default, 0 for none but this one.

    Or those of the ``scheduler``, ``tcp://host:port``, who must have this version of Penjing and
    are trusted: what goes over the line is code. `PenjingError` where none can be reached, or Dask
    is missing.
    """
    check_workers(count, scheduler)
    if count == 0:
        yield Workers()
        return
    with _client(count, scheduler) as client:
        yield Workers(client)


@contextmanager
def _client(count: int | None, scheduler: str | None) -> Iterator[Client]:
    """A client of Dask, and the cluster that it needs."""
    try:
        from distributed import Client, LocalCluster
        from distributed.utils import silence_logging_cmgr
    except ImportError as error:
        raise NotInstalled(error.name or "distributed", _EXTRA) from None
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


def _sent(client: Client, work: Callable[[Given, Item], Found], given: Given,
          items: Sequence[Item], done: Callable[[Item, Found], None]) -> list[Found]:
    """What `_spread` finds; `PenjingError` where the scheduler is lost."""
    try:
        return _spread(client, work, given, items, done)
    except OSError:
        if client.status == "running":
            raise
        raise PenjingError("workers: their scheduler is gone; start it again, and the same command "
                           "goes on where it was") from None


def _spread(client: Client, work: Callable[[Given, Item], Found], given: Given,
            items: Sequence[Item], done: Callable[[Item, Found], None]) -> list[Found]:
    """As `Workers.each`; what is lost with a worker is sent once more."""
    from distributed import CancelledError, KilledWorker, as_completed

    found: dict[int, Found] = {}
    for _ in range(RETRIES):
        # Whatever died may have taken what was given along.
        there, = client.scatter([given], broadcast=True, hash=False)
        sent = {client.submit(work, there, item, retries=RETRIES, pure=False): number
                for number, item in enumerate(items) if number not in found}
        for future in as_completed(sent):
            number = sent[future]
            try:
                found[number] = future.result()
            except (KilledWorker, CancelledError):
                continue
            done(items[number], found[number])
        if len(found) == len(items):
            return [found[number] for number in range(len(items))]
    raise PenjingError("workers: they died of all that they were given; there may be too little "
                       "memory for as many, so start fewer")
