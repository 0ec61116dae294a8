"""Widths of single layers: what each of them gets, and what hardware that takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import PLENTY, check_network
from penjing import flow
from penjing.compiler import ir
from penjing.compiler.compress.fixed_point import Precision, quantize, widths
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds.ternary import Ternary
from penjing.compiler.dataflow.plan import Plan
from penjing.compiler.dataflow.search import schedule
from penjing.compiler.dataflow.site import sites
from penjing.compiler.ir import PenjingError
from penjing.compiler.load.floats import (
    FloatAdd,
    FloatClamp,
    FloatConvolution,
    FloatDense,
    FloatFlatten,
    FloatNetwork,
    FloatUnary,
)
from penjing.compiler.load.unary import Unary
from test_fixed_point import conv, dense, graph, images

LAYERS = ("a", "b", "c", "d")


def chain() -> FloatNetwork:
    """Three convolutions with ReLUs behind the first two, and a linear layer that is the output."""
    return FloatNetwork((12, 11, 3), (
        conv("a", 3, 8, seed=1, stride=(2, 2)), FloatClamp("relu_a", 0.0),
        conv("b", 8, 8, seed=2), FloatClamp("relu_b", 0.0),
        conv("c", 8, 4, seed=3, stride=(2, 2)), FloatFlatten("flat"), dense("d", 36, 5, 4)))


def weights(network: ir.Network) -> dict[str, ir.Weights]:
    return {layer.name: layer.weights for layer in network.layers
            if isinstance(layer, ir.MultiplyAccumulate)}


def planned(network: ir.Network) -> Plan:
    return schedule(network, Budget(ECP5, PLENTY, 24))


MIXED = {"a": Precision(6, 1), "b": Precision(1, 3), "c": Precision(2, 5), "d": Precision(3)}


def test_each_layer_has_its_own_widths() -> None:
    network = quantize(chain(), images(), precisions=MIXED)
    assert {name: one.bits for name, one in weights(network).items()} == {
        "a": 6, "b": 2, "c": 2, "d": 3}
    maps = [network.type_of(name) for name in ("relu_a", "relu_b", "c_requantize")]
    assert [(kind.bits, kind.signed) for kind in maps] == [(1, False), (3, False), (5, True)]
    found = weights(network)
    assert set(found["b"].codebook) == {-1, 1}
    assert set(found["c"].codebook) == {-1, 0, 1}
    assert found["d"].codebook[0] == -4
    others = quantize(chain(), images(), 7, 6, precisions={"c": Precision(maps=4)})
    assert {one.bits for one in weights(others).values()} == {7}
    assert [others.type_of(name).bits for name in ("relu_a", "relu_b", "c_requantize")] == [6, 6, 4]


def test_no_widths_of_their_own_change_nothing() -> None:
    same = {name: Precision(weights=8) for name in LAYERS}
    assert quantize(chain(), images(), precisions=same).layers == quantize(
        chain(), images()).layers


def test_signs_have_the_step_of_least_error() -> None:
    """Magnitudes of 0.5, 0.7, 0.9 and 1.2 are 1.1 from 1 in all and 1.3 from 1/2; with 0.5 in place
    of 0.7, it is 1.3 and 1.1."""
    for second, fraction in ((0.7, 0), (0.5, 1)):
        layer = FloatDense("d", np.array([[0.5, -second], [-0.9, 1.2]]), np.zeros(2))
        network = quantize(FloatNetwork((1, 1, 2), (layer,)), np.eye(2), precisions={
            "d": Precision(1)})
        (found,) = weights(network).values()
        assert found.values.tolist() == [[1, -1], [-1, 1]]
        assert found.fraction == fraction


def test_few_bits_are_the_hardware_of_few_bits() -> None:
    """Ternary and binary weights multiply by nothing, and memories hold what the bits ask for."""
    plain, mixed = (quantize(chain(), images(), precisions=bits) for bits in ({}, MIXED))
    plans = [planned(network) for network in (plain, mixed)]
    engines = [{layer.name: type(layer.kind) for layer in plan.layers} for plan in plans]
    assert not any(engines[0][name] is Ternary for name in LAYERS)
    assert [engines[1][name] is Ternary for name in LAYERS] == [False, True, True, False]
    held = [{layer.name: layer.kind.all_weight_bits(sites(network)[layer.name])
             for layer in plan.layers if layer.name in LAYERS}
            for plan, network in zip(plans, (plain, mixed), strict=True)]
    sizes = {name: one.values.size for name, one in weights(plain).items()}
    assert held[0] == {name: 8 * size for name, size in sizes.items()}
    assert held[1] == {"a": 6 * sizes["a"], "b": sizes["b"], "c": 2 * sizes["c"],
                       "d": 3 * sizes["d"]}
    price = [sum(ECP5.price(layer.resources) for layer in plan.layers) for plan in plans]
    assert price[1] < price[0]
    assert plans[1].cycles_per_frame <= plans[0].cycles_per_frame


@pytest.mark.slow
def test_hardware_of_mixed_widths_is_exact() -> None:
    network = quantize(chain(), images(), precisions=MIXED)
    check_network(network, planned(network), frames=3)


def test_layers_that_may_have_widths() -> None:
    both, output = Precision(8, 8), Precision(8)
    assert widths(chain()) == {"a": both, "b": both, "c": both, "d": output}
    found = widths(graph())
    assert found["silu"] == found["sum"] == found["cat"] == Precision(maps=8)
    assert "relu_sum" not in found and "twice" not in found
    assert quantize(graph(), images(), precisions={"sum": Precision(maps=4)}).type_of(
        "sum_requantize").bits == 4


def test_what_is_refused() -> None:
    def refused(bits: dict[str, Precision], match: str,
                network: FloatNetwork | None = None) -> None:
        with pytest.raises(PenjingError, match=match):
            quantize(network or chain(), images(), precisions=bits)

    refused({"relu_a": Precision(4)}, "'relu_a' is no layer with a width; name one of a, b, c, d")
    refused({"d": Precision(maps=4)}, "layer d puts out its accumulators as they are")
    refused({"c": Precision(maps=1)}, "layer c: its map has negative values")
    sums = FloatNetwork((12, 11, 3), (FloatAdd("sum", inputs=("input", "input")),
                                      FloatUnary("silu", Unary.SILU)))
    refused({"sum": Precision(4)}, "layer sum has no weights", sums)
    pruned = FloatConvolution("a", np.array([1.0, 0.0, 2.0]).reshape(1, 1, 1, 3), np.zeros(1))
    refused({"a": Precision(1)}, "layer a: some of its weights are 0",
            FloatNetwork((12, 11, 3), (pruned,)))
    for wrong in (0, 17, 2.0, True):
        with pytest.raises(PenjingError, match="precision: weights: must be an integer from 1 to"):
            Precision(weights=wrong)  # type: ignore[arg-type]


def test_widths_of_a_file(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    torch.export.save(torch.export.export(module.eval(), (torch.zeros(1, 4),)),
                      tmp_path / "net.pt2")
    np.savez(tmp_path / "x.npz", x=images()[:, 0, :4, 0])
    (tmp_path / "bits.json").write_text(
        '{"linear_0": {"weights": 4, "maps": 3}, "linear_2": {"weights": 1}}')
    given = {"linear_0": Precision(4, 3), "linear_2": Precision(1)}
    networks = [flow.load(tmp_path / "net.pt2", flow.Quantization(
        tmp_path / "x.npz", precision=precision)).network
        for precision in (given, tmp_path / "bits.json", str(tmp_path / "bits.json"))]
    assert networks[0] == networks[1] == networks[2]
    assert [one.bits for one in weights(networks[0]).values()] == [4, 2]
    assert networks[0].type_of("relu_1").bits == 3
