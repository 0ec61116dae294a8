"""Networks in the making: names, types of all tensors, and what is left of them in the end."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from penjing.compiler import ir
from penjing.compiler.ir import Builder, Names, PenjingError, TensorType, cleaned

MAP = TensorType((4, 4, 2), 4, True)


@dataclass(frozen=True)
class Sum(ir.Layer):
    """A layer of any number of inputs."""

    others: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input, *self.others)

    def output_type(self, *sources: TensorType) -> TensorType:
        return replace(sources[0], bits=sources[0].bits + len(sources))


def test_the_last_layer_is_the_tail() -> None:
    net = Builder(MAP, "pixels")
    assert (net.tail, net.type) == ("pixels", MAP)
    assert net.add(ir.Pad("pad", net.tail, (1, 0, 0, 0))) == "pad"
    net.add(ir.Flatten("flat", net.tail))
    assert (net.tail, net.type.shape) == ("flat", (1, 1, 40))
    assert net.types["pad"].shape == (5, 4, 2)
    network = net.network("small")
    assert network == ir.Network("small", "pixels", MAP, tuple(net.layers.values()))


def test_a_layer_reads_any_number_of_tensors() -> None:
    net = Builder(MAP)
    for name in ("a", "b", "c"):
        net.add(ir.Clamp(name, "x", -3, 2))
    net.add(Sum("sum", "a", ("c", "b", "x")))
    assert net.network().output_type.bits == 3 + 4
    with pytest.raises(PenjingError, match="layer bad: its input 'd' is no earlier layer"):
        net.add(Sum("bad", "a", ("b", "d")))


def test_an_output_leaves_what_it_does_not_need() -> None:
    net = Builder(MAP)
    for name, source in (("a", "x"), ("b", "x"), ("c", "a")):
        net.add(ir.Clamp(name, source, -3, 2))
    net.add(ir.Add("d", "c", "a"))
    assert [layer.name for layer in net.network("n", "d").layers] == ["a", "c", "d"]
    assert [layer.name for layer in net.network("n", "b").layers] == ["b"]
    assert len(net.network("n").layers) == 4
    with pytest.raises(PenjingError, match="its output 'e' is no layer"):
        net.network("n", "e")
    with pytest.raises(PenjingError, match="it has no layers"):
        net.network("n", "x")


def test_an_input_that_is_told_late() -> None:
    net = Builder(input="pixels")
    with pytest.raises(PenjingError, match="its input 'pixels' is no earlier layer"):
        net.add(ir.Flatten("flat", "pixels"))
    with pytest.raises(PenjingError, match="type of its input is not declared"):
        net.network()
    net.declare(MAP)
    net.add(ir.Flatten("flat", "pixels"))
    net.declare(replace(MAP, scale=0.5))
    assert net.network().output_type.scale == 0.5


def test_a_layer_is_checked_when_it_is_added() -> None:
    net = Builder(MAP)
    with pytest.raises(PenjingError, match=r"layer d: weights take 3 inputs, its input has shape"):
        net.add(ir.Dense("d", "x", ir.Weights(np.ones((1, 3), np.int64), 2), np.zeros(1, np.int64)))
    with pytest.raises(PenjingError, match="layer x: its name is used twice; give it another"):
        net.add(ir.Flatten("x", "x"))
    assert not net.layers


def test_names_are_unique_whatever_their_case() -> None:
    net = Builder(MAP)
    net.add(ir.Clamp("conv", "x", -1, 1))
    net.reserve("later")
    assert [net.unique(name) for name in ("Conv", "conv", "CONV_2", "later", "x", "X", "clk", "i")
            ] == ["Conv_2", "conv_3", "CONV_2_2", "later_2", "x_2", "X_3", "clk_2", "i_2"]
    net.add(ir.Clamp("later", "conv", -1, 1))


def test_foreign_names_become_valid() -> None:
    assert cleaned("a//b c.é_1:0") == "a_b_c__1_0"
    assert cleaned("__1.2/conv-") == "conv"
    assert cleaned("1.2", "layer") == "layer_1_2"
    assert (cleaned("é", "layer"), cleaned("é")) == ("layer", "")
    names = Names("taken")
    for text in ("", "9", "é", "taken", "w" * 900, "w" * 900, "clk", *["a b"] * 200):
        assert ir.NAME.fullmatch(names.unique(text))
