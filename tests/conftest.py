"""Fixtures of more than one test file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several of PyTorch's threads only get in each other's way on small tensors."""
    import torch  # which the tests of everything else do without

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-replay", action="store_true",
                     help="take today's plans and Verilog for those of tests/replay")
