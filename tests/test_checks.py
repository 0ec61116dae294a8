"""What constructors refuse, and how they say it."""

from __future__ import annotations

from typing import Any

import pytest
from penjing.hdl.checks import at_least


def test_the_bound_itself_is_good() -> None:
    at_least(4, divider=4)
    at_least(0, depth=0, width=7)


@pytest.mark.parametrize(("value", "error", "message"), [
    (1.0, TypeError, r"^width must be an int, not 1\.0$"),
    (True, TypeError, "^width must be an int, not True$"),
    (None, TypeError, "^width must be an int, not None$"),
    (3, ValueError, "^width must be at least 4, not 3$"),
])
def test_the_parameter_is_named(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        at_least(4, depth=4, width=value)
