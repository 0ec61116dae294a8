"""A format for `fuzzing` whose reader fails in every way that counts, to see it noticed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from penjing.compiler.ir import PenjingError


def mutant(index: int) -> bytes:
    return bytes([index])


def read(path: Path) -> None:
    which = path.read_bytes()[0]
    if which == 0:
        raise TypeError("a crash in Python")
    if which == 1:
        os.abort()
    if which == 2:
        bytearray(2 << 30)
    if which == 3:
        raise PenjingError("two\nlines")
    if which == 4:
        while time.process_time() < 60:
            pass
