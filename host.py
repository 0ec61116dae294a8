"""The host's end of the serial link: send an image to a board, get the network's result.

    with Link("/dev/ttyUSB0") as board:
        logits = board.infer(image)

    with Link("/dev/ttyUSB0", expected=project.identity) as board:
        answer = board.answer(image)  # in the units of the network that was compiled

What goes over the line is described in `penjing.boards.protocol`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .boards.protocol import (
    HEADER_BYTES,
    Decoder,
    Fault,
    Identity,
    Kind,
    Message,
    Status,
    decode_tensor,
    element_bytes,
    encode_tensor,
)
from .compiler.ir import NotInstalled, PenjingError
from .sim.tail import answers

if TYPE_CHECKING:
    import serial

__all__ = ["Link"]

_BITS_PER_BYTE = 10
_MESSAGE_BYTES = HEADER_BYTES + 4
_POLL_SECONDS = 0.01
_REFUSALS = {
    Status.LOADING: "it is cut off; make and load it again",
    Status.DAMAGED: "it is damaged; make and load it again",
    Status.MISMATCHED: "it is for another shape; make it for the project whose bitstream is there"}


class Link:
    """A board that runs an accelerator made by Penjing.

    Parameters
    ----------
    port : serial port, a device name or what else pyserial opens (``socket://host:port``).
    baud : speed of the line, that of the board.
    timeout : seconds to wait for an answer beyond the time that the bytes themselves take; longer
        than the board's 0.1 s, so that a message cut off has ended there too.
    retries : how often to send a request again if the answer does not come or tells of damage.
    expected : the network that must be on the board; any unless given.
    clock : tells the seconds; those that pass for a simulated board are not those of the wall.

    Raises `PenjingError` where the port cannot be opened, no board answers, or another network is
    on it.
    """

    def __init__(self, port: str, *, baud: int = 1_000_000, timeout: float = 1.0, retries: int = 4,
                 expected: Identity | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        if retries < 0 or timeout <= 0:
            raise PenjingError(f"{port}: retries must be at least 0 and timeout above 0, not "
                               f"{retries} and {timeout}; leave them out")
        self._port = port
        self._baud = baud
        self._timeout = timeout
        self._retries = retries
        self._clock = clock
        self._sequence = 0
        self._repeats = 0
        self._is_expected = expected is not None
        self._decoder = Decoder(Identity.size())
        self._serial = _open(port, baud)
        try:
            self._identity = self._identify(expected)
        except BaseException:
            self.close()
            raise
        result = self._identity.output_type
        limit = max(Identity.size(), result.elements * element_bytes(result))
        self._decoder = Decoder(limit)

    def _identify(self, expected: Identity | None) -> Identity:
        found = Identity.decode(self._request(Kind.IDENTIFY, b"", Kind.IDENTITY, Identity.size()))
        if expected is None:
            return found
        if not found.matches(expected):
            raise PenjingError(
                f"{self._port}: the board runs network {found.digest.hex()}, not "
                f"{expected.digest.hex()}; load the bitstream of the network that you mean")
        return expected

    @property
    def identity(self) -> Identity:
        """The network on the board; with fraction lengths and tail only if one was expected."""
        return self._identity

    @property
    def repeats(self) -> int:
        """Requests that had to be sent again so far."""
        return self._repeats

    def infer(self, image: NDArray[np.integer]) -> NDArray[np.int64]:
        """The network's integers for ``image``, integers in the shape of ``identity.input_type``.

        Raises `PenjingError` where the image does not fit the network, or where the board has no
        weights yet or does not answer.
        """
        i_type, o_type = self._identity.input_type, self._identity.output_type
        size = o_type.elements * element_bytes(o_type)
        payload = self._request(Kind.IMAGE, encode_tensor(image, i_type), Kind.RESULT, size)
        return decode_tensor(payload, o_type)

    def answer(self, image: NDArray[np.integer]) -> NDArray[Any]:
        """What the host makes of `infer`, as the network that was expected ends.

        Raises `PenjingError` as `infer` does, and where no network was expected.
        """
        if not self._is_expected:
            raise PenjingError(f"{self._port}: what its integers stand for, a board does not know; "
                               f"give the network with expected=project.identity")
        return answers(self._identity.tail, self.infer(image))

    def load(self, image: bytes) -> None:
        """Give the board the weights of ``image``, see `penjing.compiler.image`.

        Raises `PenjingError` where it refuses them, has none to be loaded, or does not answer.
        """
        (status,) = self._request(Kind.LOAD, image, Kind.LOADED, 1)
        if status != Status.READY:
            why = (_REFUSALS[Status(status)] if status in _REFUSALS
                   else f"its status is {status}; is it a board of this version?")
            raise PenjingError(f"{self._port}: the board refuses the image: {why}")

    def close(self) -> None:
        """Close the port."""
        self._serial.close()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _request(self, kind: Kind, payload: bytes, answer: Kind, answer_bytes: int) -> bytes:
        """The payload of the answer. A request keeps its sequence byte when sent again: an answer
        that comes late is as good, and one that comes twice is told from that to a later request.
        """
        self._sequence = (self._sequence + 1) % 256
        request = Message(kind, self._sequence, payload).encode()
        line_bytes = len(request) + _MESSAGE_BYTES + answer_bytes
        patience = self._timeout + line_bytes * _BITS_PER_BYTE / self._baud
        problem = ""
        for attempt in range(self._retries + 1):
            self._repeats += attempt > 0
            try:
                self._serial.write(request)
                found, problem = self._await(answer, self._clock() + patience)
            except OSError as error:
                raise PenjingError(f"{self._port}: {error}; is the board still connected?"
                                   ) from error
            if found is not None:
                return found
        raise PenjingError(f"{self._port}: no good answer in {self._retries + 1} attempts (the "
                           f"last: {problem}); check board, bitstream and --baud")

    def _await(self, answer: Kind, deadline: float) -> tuple[bytes | None, str]:
        """The answer's payload, or what came instead."""
        problem = "silence"
        while self._clock() < deadline:
            for message in self._decoder.feed(self._serial.read(max(1, self._serial.in_waiting))):
                if message.sequence != self._sequence:
                    continue
                if message.kind == answer:
                    return message.payload, ""
                if message.kind == Kind.ERROR and len(message.payload) == 1:
                    code = message.payload[0]
                    if code == Fault.EMPTY:
                        raise PenjingError(f"{self._port}: the board waits for weights, since it "
                                           "has no good weights; load some with penjing load")
                    known = code in tuple(Fault)
                    problem = f"error {Fault(code).name if known else code}"
                    # A busy board works on this very request, sent before.
                    if code != Fault.BUSY:
                        return None, problem
        return None, problem


def _open(port: str, baud: int) -> serial.SerialBase:
    try:
        import serial
    except ImportError as error:
        raise NotInstalled("pyserial", "fpga") from error
    try:
        opened: Any = serial.serial_for_url(port, baud, timeout=_POLL_SECONDS)
    except (OSError, ValueError) as error:
        raise PenjingError(f"{port}: cannot be opened ({error}); name the board's serial port"
                           ) from error
    opened.reset_input_buffer()
    return opened
