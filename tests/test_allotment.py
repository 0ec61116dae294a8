"""How many weights each layer keeps, by curves whose best shares are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from penjing.compiler.compress.allotment import Curve, allot
from penjing.compiler.ir import PenjingError


def power(scale: float, exponent: float, most: int) -> Curve:
    """``scale / weights ** exponent``, less what all cost, at halves of ``most``."""
    weights = [most >> halves for halves in range(6)]
    return Curve(tuple(weights), tuple(scale * (one**-exponent - most**-exponent)
                                       for one in weights))


def test_what_gains_most_comes_first() -> None:
    """From 10 to 40 weights the one gains 3 by 30 each, the other 6."""
    curves = {"a": Curve((40, 10), (0, 3)), "b": Curve((40, 10), (0, 6))}
    found = allot(curves, 21)
    assert found["b"] > found["a"]
    assert sum(found.values()) == 21


def test_one_more_would_save_all_layers_the_same() -> None:
    """Of 4 / x and 1 / y the slopes 4 / x² and 1 / y² are equal where x = 2 y."""
    found = allot({"x": power(4, 1, 3200), "y": power(1, 1, 3200)}, 900)
    assert sum(found.values()) == 900
    assert found["x"] == pytest.approx(600, rel=0.1)


def test_it_is_the_cheapest_of_all_shares() -> None:
    rng = np.random.default_rng(3)
    curves = {name: power(float(rng.uniform(1, 9)), float(rng.uniform(0.5, 2)), 64)
              for name in "abc"}
    count = 90
    drawn = {name: curve.falling() for name, curve in curves.items()}

    def cost(left: dict[str, int]) -> float:
        return sum(float(np.interp(left[name], *drawn[name])) for name in left)

    best = min(cost(dict(zip("abc", (a, b, count - a - b), strict=True)))
               for a, b in itertools.product(range(2, 65), repeat=2) if 2 <= count - a - b <= 64)
    assert cost(allot(curves, count)) == pytest.approx(best, rel=1e-2)


def test_a_curve_that_rises_again_counts_as_flat() -> None:
    """What fewer weights cost less is a chance; they cost as much as more of them."""
    x, y = Curve((8, 4, 2), (0.0, 5.0, 3.0)).falling()
    assert y[0] == pytest.approx(5)
    assert np.all(np.diff(np.diff(y) / np.diff(x)) > -1e-12)


def test_no_layer_gets_more_or_fewer_than_it_may() -> None:
    curves = {"a": Curve((40, 10), (0, 3)), "b": Curve((5,), (0,))}
    assert allot(curves, 1000) == {"a": 40, "b": 5}
    assert allot(curves, 15) == {"a": 10, "b": 5}
    with pytest.raises(PenjingError, match="14 weights cannot be shared out: at least 15 of 2"):
        allot(curves, 14)


@pytest.mark.parametrize("weights", [(), (3, 3), (3, 4), (3, 0)])
def test_curves_descend(weights: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="descend"):
        Curve(weights, (0.0,) * len(weights))
