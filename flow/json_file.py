"""JSON files that the user writes by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..compiler.ir import PenjingError

__all__ = ["read_object"]

MAX_BYTES = 1 << 20
"""The longest file that is read."""


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The one object in the file ``path``; ``what`` tells what to write there, with an example."""
    try:
        value = json.loads(path.read_bytes()[:MAX_BYTES])
    except OSError as error:
        raise PenjingError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, RecursionError):
        raise PenjingError(f"{path}: no JSON; write {what}") from None
    if not isinstance(value, dict):
        raise PenjingError(f"{path}: it must hold one object; write {what}")
    return value
