"""Work that is done side by side: as one process does it, whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from penjing.compiler.ir import PenjingError
from penjing.flow.workers import Workers, _uninterrupted, workers

ITEMS = (1, 3, 4)


def squared_and(given: list[int], item: int) -> int:
    return item * item + sum(given)


def once_deadly(killer: Path, item: int) -> int:
    """Ends the process that is the first to come here."""
    if killer.exists():
        killer.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return item + 1


def test_one_process_alone() -> None:
    noted: list[tuple[int, int]] = []
    with workers(0) as alone:
        assert alone == Workers()
        found = alone.each(squared_and, [10, 20], ITEMS, lambda *pair: noted.append(pair))
    assert found == [31, 39, 46]
    assert noted == [*zip(ITEMS, found, strict=True)]


@pytest.mark.slow
def test_many_find_what_one_finds(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    killer = tmp_path / "killer"
    killer.touch()
    noted: dict[int, int] = {}
    with workers(2) as both:
        # What is given may be a list: it is one thing all the same.
        assert both.each(squared_and, [10, 20], ITEMS, lambda *_: None) == [31, 39, 46]
        # The first worker dies, what it was at is taken up again.
        assert both.each(once_deadly, killer, ITEMS, noted.__setitem__) == [2, 4, 5]
    assert not killer.exists()
    assert noted == {1: 2, 3: 4, 4: 5}


@pytest.mark.slow
def test_a_scheduler_that_is_not_there() -> None:
    pytest.importorskip("distributed")
    for name in ("tcp://127.0.0.1:9", "ucx://127.0.0.1:9", "nothing"):
        with pytest.raises(PenjingError, match="it cannot be reached"), workers(scheduler=name):
            pass


@pytest.mark.slow
def test_a_scheduler_without_workers_or_gone() -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=0, processes=False, threads_per_worker=1,
                                  dashboard_address=None, protocol="tcp") as cluster:
        with pytest.raises(PenjingError, match="it has no workers; start some"), workers(
                scheduler=cluster.scheduler_address):
            pass
        cluster.scale(1)
        with workers(scheduler=cluster.scheduler_address) as one:
            assert one.each(squared_and, [0], [5], lambda *_: None) == [25]
            cluster.close()
            with pytest.raises(PenjingError, match="gone; start it again"):
                one.each(squared_and, [0], [5], lambda *_: None)


def test_ctrl_c_is_for_one() -> None:
    """Processes that start meanwhile do not hear it; from a thread there is nothing to change."""
    before = signal.getsignal(signal.SIGINT)
    with _uninterrupted():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before
    heard: list[Any] = []

    def other() -> None:
        with _uninterrupted():
            heard.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert heard == [before]


def test_bad_workers() -> None:
    for options, why in (({"count": -1}, "a number from 0"), ({"count": True}, "a number from 0"), (
            {"count": 1, "scheduler": "tcp://127.0.0.1:9"}, "one of both")):
        with pytest.raises(PenjingError, match=why), workers(**cast(Any, options)):
            pass


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast(Any, sys.modules), "distributed", None)
    with pytest.raises(PenjingError, match=r"distributed: not installed; pip install "
                                           r"'penjing\[workers\]'"), workers(2):
        pass
    with workers(0) as alone:
        assert alone.each(squared_and, [0], [5], lambda *_: None) == [25]
