"""Which weights are pruned: layers as the hardware has them, units, amounts, and masks."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from penjing.compiler import ir
from penjing.compiler.ir import PenjingError
from penjing.compiler.ir.encoding import rows_of

torch = pytest.importorskip("torch")

from penjing.compiler.compress import prune as p  # noqa: E402
from penjing.compiler.compress import quantizers as q  # noqa: E402
from penjing.compiler.load import floats as fl  # noqa: E402
from penjing.compiler.load import torch as pytorch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

G = p.Granularity


def every_kind() -> nn.Sequential:
    """All kinds of layers, in groups, depthwise, and behind a flattened map of 3 × 5."""
    torch.manual_seed(3)
    return nn.Sequential(OrderedDict(
        conv=nn.Conv2d(3, 8, (3, 2), padding=(1, 0)), grouped=nn.Conv2d(8, 6, 1, groups=2),
        depthwise=nn.Conv2d(6, 6, 3, groups=6), transposed=nn.ConvTranspose2d(6, 4, 3, groups=2),
        flatten=nn.Flatten(), dense=nn.Linear(4 * 3 * 5, 7))).eval()


def line() -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(OrderedDict(conv=nn.Conv1d(4, 6, 3, groups=2),
                                     up=nn.ConvTranspose1d(6, 4, 2))).eval()


def one(values: list[list[float]]) -> nn.Sequential:
    """A linear layer ``0`` with these weights."""
    weights = torch.tensor(values)
    model = nn.Sequential(nn.Linear(*reversed(weights.shape)))
    with torch.no_grad():
        model[0].weight.copy_(weights)
    return model


def pruned(model: nn.Module, amount: p.Amount, granularity: G = G.WEIGHT,
           criterion: p.Criterion | None = None) -> p.Masks:
    return p.select(model, p.layers_of(model), amount, criterion or p.L1(), granularity)


@pytest.mark.parametrize(("model", "shape", "flattened"), [
    (every_kind, (3, 6, 3), {"dense": (3, 5)}), (line, (8, 4), {})])
def test_weights_are_arranged_as_the_network_has_them(
        model: object, shape: tuple[int, ...], flattened: dict[str, tuple[int, int]]) -> None:
    assert callable(model)
    made = model()
    network = pytorch.from_module(made, shape)
    theirs = {layer.name: layer.weights for layer in network.layers
              if isinstance(layer, fl.FloatMultiply)}
    layers = p.layers_of(made, flattened=flattened)
    assert layers.keys() == theirs.keys()
    for name, layer in layers.items():
        arranged = layer.arranged(layer.weight.detach())
        assert np.array_equal(arranged.reshape(theirs[name].shape).numpy(), theirs[name])
        assert torch.equal(layer.restored(arranged), layer.weight)


class Odd(nn.Module):
    """Linear layers behind maps, vectors, and what is no map any more."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.line = nn.Conv2d(2, 3, (3, 2)), nn.Conv1d(3, 2, 3)
        self.a, self.b, self.c = nn.Linear(24, 8), nn.Linear(8, 12), nn.Linear(3, 12)
        self.d = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        a = self.b(torch.relu(self.a(nn.functional.dropout(x.flatten(1), 0.0) * 2)))
        c = torch.relu(self.c(x.mean((2, 3))))
        return self.d(self.line((a + c).unflatten(1, (3, 4))).reshape(x.shape[0], -1))


def test_flattened_maps_are_found() -> None:
    assert p.flattened_maps(every_kind(), torch.zeros(2, 3, 3, 6)) == {"dense": (3, 5)}
    assert p.flattened_maps(Odd(), torch.zeros(2, 2, 6, 3)) == {"a": (4, 2), "d": (1, 2)}


def test_layers_that_share_weights_are_one() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    assert list(p.layers_of(model)) == ["0"]


def test_units_of_a_kernel() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 2, bias=False))
    values = torch.tensor([[[[1., 2], [3, 4]], [[5, 6], [7, 8]]],
                           [[[9, -9], [1, 1]], [[2, -2], [0, 3]]]])
    with torch.no_grad():
        model[0].weight.copy_(values)
    layers = p.layers_of(model)
    expected = {
        G.WEIGHT: values.abs().permute(0, 2, 3, 1).tolist(),
        G.VECTOR: [[[[3, 11]], [[7, 15]]], [[[18, 4]], [[2, 3]]]],
        G.KERNEL: [[[[10, 26]]], [[[20, 7]]]],
        G.INPUT: [[[[30, 33]]]],
        G.CHANNEL: [[[[36]]], [[[27]]]],
        G.LAYER: [[[[63]]]]}
    for granularity, scores in expected.items():
        found = p.unit_scores(model, layers, p.L1(), granularity)["0"]
        assert found.tolist() == scores
    # The square root of the sum of squares, not the sum of magnitudes.
    norms = p.unit_scores(model, layers, p.L2(), G.KERNEL)["0"].square().flatten().tolist()
    assert norms == pytest.approx([30, 174, 164, 17], rel=1e-6)
    # Of four kernels two go: those with the least sums.
    (kept,) = pruned(model, p.Each(0.5), G.KERNEL).kept.values()
    assert kept.flatten(2).tolist() == [[[False] * 4, [True] * 4], [[True] * 4, [False] * 4]]


def test_a_ratio_is_rounded_up_and_the_first_of_equal_weights_go() -> None:
    model = one([[1, -1, 1, 2], [0.5, 1, 3, 1]])
    kept = pruned(model, p.Each(0.26)).kept["0"]  # 2.08 of 8
    assert kept.tolist() == [[False, False, True, True], [False, True, True, True]]
    assert pruned(model, p.Each(0.25)).kept["0"].sum() == 6
    assert pruned(model, p.Each(0.0)).kept["0"].all()
    # 0.1 * 30 is more than 3, a little.
    assert pruned(one([[*map(float, range(30))]]), p.Each(0.1)).kept["0"].sum() == 27


def two(first: list[float], second: list[float]) -> nn.Sequential:
    model = nn.Sequential(OrderedDict(a=nn.Linear(len(first), 1), b=nn.Linear(len(second), 1)))
    with torch.no_grad():
        model.a.weight.copy_(torch.tensor([first]))
        model.b.weight.copy_(torch.tensor([second]))
    return model


def test_layers_are_ranked_together_or_apart() -> None:
    model = two([1, 2, 3, 4], [10, 20, 30, 40])
    # In units of their deviations both layers are alike.
    masks = pruned(model, p.Overall(0.5), criterion=p.Deviations())
    assert [kept.tolist() for kept in masks.kept.values()] == [[[False, False, True, True]]] * 2
    masks = pruned(model, p.Each({"b": 0.75}))
    assert {name: kept.tolist() for name, kept in masks.kept.items()} == {
        "b": [[False, False, False, True]]}
    with pytest.raises(PenjingError, match="L1 cannot rank weights of different layers together; "
                                           "give each layer its ratio"):
        pruned(model, p.Overall(0.5))


def test_hans_threshold() -> None:
    """The deviation of ±1, ±3 is the square root of 5, 2.236."""
    model = one([[1, -1, 3, -3]])
    for quality, kept in ((0.447, [True] * 4), (0.448, [False, False, True, True]),
                          (1.341, [False, False, True, True])):
        masks = pruned(model, p.Below(quality), criterion=p.Deviations())
        assert masks.kept["0"].tolist() == [kept]
    # What has exactly the threshold stays; a layer's own counts.
    assert pruned(model, p.Below({"0": 3.0})).kept["0"].tolist() == [[False, False, True, True]]
    with pytest.raises(PenjingError, match="layer 0: nothing of its 4 weights would be kept"):
        pruned(model, p.Below(1.35), criterion=p.Deviations())


def test_n_of_m_by_hand() -> None:
    model = one([[1, -4, 3, 2, 5, 5, 5, 1, -7, 0.5]])
    kept = pruned(model, p.NofM(2, 4)).kept["0"]
    # Of equal ones the later stay. The last group has two and keeps them.
    assert kept.int().tolist() == [[0, 1, 1, 0, 0, 1, 1, 0, 1, 1]]
    kept = pruned(model, p.NofM(1, 4)).kept["0"]
    assert kept.int().tolist() == [[0, 1, 0, 0, 0, 0, 1, 0, 1, 0]]


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (1, 4), (2, 3)])
def test_n_of_m_is_what_the_encoding_stores(n: int, m: int) -> None:
    model = every_kind()
    layers = p.layers_of(model, flattened={"dense": (3, 5)})
    amount = p.NofM(n, m)
    among = {name: layer for name, layer in layers.items() if amount.suits(layer)}
    # A depthwise layer has one channel in a group, a transposed one here three.
    assert among.keys() == layers.keys() - {"depthwise"}
    masks = p.select(model, among, amount, p.L1())
    masks.apply(model)
    for layer in among.values():
        values = layer.arranged(layer.weight.detach()).sign().long().numpy()
        shape = (0, 3) if isinstance(layer.module, nn.Linear) else (0, 1, 2, 3)
        rows = rows_of(values.reshape([values.shape[axis] for axis in shape]))
        ir.NofM(n, m).check(rows)
        groups = rows.shape[2] // m
        assert (np.count_nonzero(rows[:, :, :groups * m], -1) == groups * n).all()
    # Taken as it lies in PyTorch, the layer behind the map would have other groups.
    wrong = p.select(every_kind(), {"dense": p.layers_of(model)["dense"]}, amount, p.L1())
    assert not torch.equal(wrong.kept["dense"], masks.kept["dense"])


def test_masks_hold_latent_weights_too() -> None:
    model = nn.Sequential(nn.Linear(4, 2))
    before = model[0].weight.detach().clone()
    q.quantize_weights(model[0], q.FixedPointWeights(4, model[0].weight))
    masks = pruned(model, p.Each(0.5))
    masks.apply(model)
    assert torch.equal(p.layers_of(model)["0"].weight, before * masks.kept["0"])
    assert model[0].weight.count_nonzero() <= 4


def test_masks_put_together() -> None:
    model = two([1, 2, 3, 4], [1, 2, 3, 4])
    a, b = pruned(model, p.Each({"a": 0.5})), pruned(model, p.Each({"a": 0.25, "b": 0.75}))
    assert (a & b).densities == {"a": 0.5, "b": 0.25}
    assert (a | b).densities == {"a": 0.75}  # a keeps all of layer b
    assert (a & b).density == 3 / 8
    assert p.Masks().density == 1.0
    (a & b).apply(model)
    assert p.Masks.of(model).digest == (a & b).digest != a.digest
    assert not (model.a.weight.signbit() & (model.a.weight == 0)).any()


def test_masks_are_stored(tmp_path: Path) -> None:
    model, path = every_kind(), tmp_path / "masks.safetensors"
    masks = pruned(model, p.Each(0.5))
    masks.save(path)
    loaded = p.Masks.load(path)
    assert list(loaded.kept) == list(masks.kept)
    assert loaded.digest == masks.digest
    whole = path.read_bytes()
    for damaged in (whole[:-9], b"", whole[:8] + b"[" + whole[9:]):
        path.write_bytes(damaged)
        with pytest.raises(PenjingError, match="no masks, or damaged; prune again"):
            p.Masks.load(path)


def dense_chain(*weights: list[list[float]]) -> nn.Sequential:
    model = nn.Sequential(*(nn.Linear(len(w[0]), len(w)) for w in weights))
    with torch.no_grad():
        for layer, values in zip(model, weights, strict=True):
            layer.weight.copy_(torch.tensor(values))
    return model


def test_dead_neurons_are_swept_to_the_end() -> None:
    # Neuron 1 of layer 0 has no input, so neuron 0 of layer 1 loses its only one, and layer 2 that
    # neuron; neuron 2 of layer 0 has no reader.
    model = dense_chain([[1, 1], [0, 0], [1, 1]], [[0, 1, 0], [1, 0, 0]], [[1, 1]])
    swept = p.without_dead(p.Masks.of(model), model, ("0", "1", "2"))
    assert [kept.int().tolist() for kept in swept.kept.values()] == [
        [[1, 1], [0, 0], [0, 0]], [[0, 0, 0], [1, 0, 0]], [[0, 1]]]


def test_dead_channels_of_groups_and_flattened_maps() -> None:
    model = nn.Sequential(OrderedDict(
        conv=nn.Conv2d(1, 4, 1), grouped=nn.Conv2d(4, 2, 1, groups=2), flatten=nn.Flatten(),
        dense=nn.Linear(2 * 3, 1)))
    kept: dict[str, Tensor] = {name: torch.ones_like(layer.weight, dtype=torch.bool)
                               for name, layer in p.layers_of(model).items()}
    kept["conv"][3] = False  # the second input of the second group
    kept["dense"][0, :3] = False  # all pixels of channel 0: nothing reads the first group
    swept = p.without_dead(p.Masks(kept), model, ("conv", "grouped", "dense")).kept
    assert swept["conv"].flatten().int().tolist() == [0, 0, 1, 0]
    assert swept["grouped"].flatten(1).int().tolist() == [[0, 0], [1, 0]]
    assert swept["dense"].int().tolist() == [[0, 0, 0, 1, 1, 1]]
    with pytest.raises(PenjingError, match="layer conv with 1 inputs does not read the 2 outputs of"
                                           " grouped"):
        p.without_dead(p.Masks(kept), model, ("grouped", "conv"))


@pytest.mark.parametrize("ratio", [-0.1, 1.0, float("nan"), "0.5", True])
def test_impossible_ratios_are_refused(ratio: object) -> None:
    with pytest.raises(PenjingError, match="layer a: a ratio to prune must be at least 0 and below"
                                           " 1, not"):
        p.Each({"a": ratio})
    with pytest.raises(PenjingError, match="pruning: a ratio to prune must be"):
        p.Overall(ratio)


def test_bad_requests_are_refused() -> None:
    model = two([1, 2, 3], [1, 2, 3])
    with pytest.raises(PenjingError, match="pruning: 'c' is no layer with weights to prune; name "
                                           "one of a, b"):
        pruned(model, p.Each({"c": 0.5}))
    with pytest.raises(PenjingError, match="masks: 'c' is no layer with weights"):
        p.Masks({"c": torch.ones(1, 3, dtype=torch.bool)}).apply(model)
    with pytest.raises(PenjingError, match=r"layer a has weights \(1, 3\), its mask is \(3,\)"):
        p.Masks({"a": torch.ones(3, dtype=torch.bool)}).apply(model)
    with pytest.raises(PenjingError, match="layer a: nothing of its 3 weights would be kept"):
        pruned(model, p.Each({"a": 0.67}))
    with pytest.raises(PenjingError, match="layer a: nothing of its 1 channels would be kept"):
        pruned(model, p.Each(0.1), G.CHANNEL)
    assert pruned(model, p.Each({"a": 0.1}), G.LAYER).emptied == ("a",)
    with pytest.raises(PenjingError, match="layer a: 3 of 4 channels keeps all, since it has 3 in"):
        pruned(model, p.NofM(3, 4))
    with pytest.raises(PenjingError, match="n of m must be integers with 1 <= n < m <= 16, not 4"):
        p.NofM(4, 4)
    with pytest.raises(PenjingError, match="layer a: a threshold must be a number of at least 0"):
        p.Below({"a": -1.0})
    with pytest.raises(PenjingError, match="the 3 inputs of layer a are no map of 2 × 2"):
        p.layers_of(model, flattened={"a": (2, 2)})
    with pytest.raises(PenjingError, match="flattened maps: layer conv is not linear"):
        p.layers_of(line(), flattened={"conv": (1, 1)})
    with torch.no_grad():
        model.b.weight[0, 1] = float("nan")
    with pytest.raises(PenjingError, match="layer b: its weights, or their scores, are no finite "):
        pruned(model, p.Each(0.5))
