"""Networks and data of others, which are no part of the project."""

from __future__ import annotations

from pathlib import Path

import penjing
import pytest

_SHARED = Path(penjing.__file__).resolve().parent.parent / "shared"


def shared(*parts: str) -> Path:
    """A file or folder of those; where it is missing, the test is skipped."""
    path = _SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path}")
    return path
