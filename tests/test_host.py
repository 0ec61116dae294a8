"""The host driver against a board that is only pretended: it answers late, twice, wrong, or not."""

from __future__ import annotations

import os
import pty
import threading
import tty
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from penjing.boards.protocol import (
    Decoder,
    Fault,
    Identity,
    Kind,
    Message,
    decode_tensor,
    encode_tensor,
)
from penjing.compiler.ir import PenjingError, Tail, TensorType
from penjing.host import Link

I_TYPE, O_TYPE = TensorType((2, 2, 3), 5, True), TensorType((1, 1, 12), 14, True)
IDENTITY = Identity(b"a digest", I_TYPE, O_TYPE)
IMAGE = np.arange(-6, 6).reshape(2, 2, 3)
RESULT = IMAGE.reshape(1, 1, 12) * 500
Answer = Callable[[Message], list[Message]]


def right(request: Message) -> list[Message]:
    if request.kind == Kind.IDENTIFY:
        return [Message(Kind.IDENTITY, request.sequence, IDENTITY.encode())]
    values = decode_tensor(request.payload, I_TYPE).reshape(1, 1, 12) * 500
    return [Message(Kind.RESULT, request.sequence, encode_tensor(values, O_TYPE))]


def fault(code: int) -> Answer:
    return lambda request: [Message(Kind.ERROR, request.sequence, bytes([code]))]


def of_an_older_request(request: Message) -> list[Message]:
    return [Message(Kind.RESULT, request.sequence - 1 & 255, bytes(24)),
            Message(Kind.ERROR, request.sequence - 1 & 255, bytes([Fault.CHECKSUM])),
            Message(Kind.IDENTITY, request.sequence, b""), Message(0x55, request.sequence),
            *right(request)]


def busy_then_right(request: Message) -> list[Message]:
    return [*fault(Fault.BUSY)(request), *right(request)]


def twice(request: Message) -> list[Message]:
    return right(request) * 2


def never(request: Message) -> list[Message]:
    return []


@pytest.fixture
def play() -> Iterator[Callable[[Sequence[Answer]], str]]:
    """Starts a board that gives the answers in turn, the last one for ever; returns its port."""
    stop = threading.Event()
    running: list[tuple[threading.Thread, int, int]] = []

    def start(answers: Sequence[Answer]) -> str:
        board, terminal = pty.openpty()
        tty.setraw(terminal)
        os.set_blocking(board, False)

        def serve() -> None:
            decoder, left = Decoder(1000), list(answers)
            while not stop.wait(0.001):
                try:
                    received = os.read(board, 1000)
                except BlockingIOError:
                    continue
                for message in decoder.feed(received):
                    answer = left.pop(0) if len(left) > 1 else left[0]
                    os.write(board, b"noise" + b"".join(m.encode() for m in answer(message)))

        thread = threading.Thread(target=serve)
        thread.start()
        running.append((thread, board, terminal))
        return os.ttyname(terminal)

    yield start
    stop.set()
    for thread, board, terminal in running:
        thread.join()
        os.close(board)
        os.close(terminal)


@pytest.mark.parametrize(("answers", "repeats"), [
    ([right], 0),
    ([of_an_older_request], 0),
    ([busy_then_right], 0),
    ([twice], 0),
    ([never, right], 1),
    ([fault(Fault.CHECKSUM), fault(Fault.CUT), right], 2),
    ([fault(99), right], 1),
])
def test_results_come_through(play: Callable[[Sequence[Answer]], str], answers: list[Answer],
                              repeats: int) -> None:
    with Link(play([right, *answers]), timeout=0.2, expected=IDENTITY) as board:
        for _ in range(3):
            assert np.array_equal(board.infer(IMAGE), RESULT)
        assert np.array_equal(board.infer(IMAGE.ravel()), RESULT)
        assert board.repeats == repeats
        assert board.identity == IDENTITY


def test_the_host_makes_answers(play: Callable[[Sequence[Answer]], str]) -> None:
    halved = replace(IDENTITY, tail=Tail((0.5,), (1.0,)))
    with Link(play([right]), timeout=0.2, expected=halved) as board:
        assert np.array_equal(board.answer(IMAGE), RESULT / 2 + 1)
    with (Link(play([right]), timeout=0.2) as board,
          pytest.raises(PenjingError, match="a board does not know; give the network with exp")):
        board.answer(IMAGE)


def test_sequence_wraps(play: Callable[[Sequence[Answer]], str]) -> None:
    with Link(play([right]), timeout=0.5) as board:
        for _ in range(260):
            board.infer(IMAGE)
        assert board.repeats == 0


@pytest.mark.parametrize(("answer", "message"), [
    (never, r"no good answer in 3 attempts \(the last: silence\)"),
    (fault(Fault.CHECKSUM), r"no good answer in 3 attempts \(the last: error CHECKSUM\)"),
    (fault(99), "error 99"),
    (lambda r: [Message(Kind.RESULT, r.sequence, bytes(23))],
     "a result of 23 bytes came, not of 24"),
])
def test_giving_up(play: Callable[[Sequence[Answer]], str], answer: Answer, message: str) -> None:
    with (Link(play([right, answer]), timeout=0.05, retries=2) as board,
          pytest.raises(PenjingError, match=message)):
        board.infer(IMAGE)


def test_another_network(play: Callable[[Sequence[Answer]], str]) -> None:
    wanted = Identity(b"A digest", I_TYPE, O_TYPE)
    with pytest.raises(PenjingError, match="the board runs network 6120646967657374, not 4120"):
        Link(play([right]), timeout=0.2, expected=wanted)
    with pytest.raises(PenjingError, match="another version"):
        Link(play([lambda r: [Message(Kind.IDENTITY, r.sequence, b"\x02")]]), timeout=0.2)


def test_bad_parameters() -> None:
    for timeout, retries in ((0.0, 1), (1.0, -1)):
        with pytest.raises(PenjingError, match="leave them out"):
            Link("loop://", timeout=timeout, retries=retries)
