"""Quantizers to train through: their values, and their gradients against formulas by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from penjing.compiler.ir import PenjingError
from penjing.compiler.load.floats import Floats

torch = pytest.importorskip("torch")

from penjing.compiler.compress import quantizers as q  # noqa: E402
from penjing.compiler.compress.blocks import Repeat, Residual  # noqa: E402
from torch import Tensor, nn  # noqa: E402

EDGES = [-3.0, -1.0 - 1e-6, -1.0, -0.5, -1e-6, -0.0, 0.0, 1e-6, 0.5, 1.0, 1.0 + 1e-6, 3.0]


def latent(*shape: int, seed: int = 0) -> Tensor:
    """Weights around ±1, some of them exactly 0 or ±1."""
    values = np.random.default_rng(seed).normal(0, 0.8, shape)
    values.flat[:3] = 0, 1, -1
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def upstream(x: Tensor, seed: int = 1) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(0, 1, x.shape), dtype=x.dtype)


def gradient(function: object, x: Tensor, g: Tensor) -> Floats:
    """d(sum(g * function(x))) / dx."""
    assert callable(function)
    (grad,) = torch.autograd.grad(function(x), x, g)
    return grad.numpy()


def arrays(*tensors: Tensor) -> list[Floats]:
    return [tensor.detach().numpy() for tensor in tensors]


def test_sign_and_its_gradient() -> None:
    x = torch.tensor(EDGES, dtype=torch.float64, requires_grad=True)
    g = upstream(x)
    a, ga = arrays(x, g)
    assert q.Sign()(x).tolist() == [-1] * 5 + [1] * 7
    assert np.array_equal(gradient(q.Sign(), x, g), ga * (np.abs(a) <= 1))


def test_approximate_sign_has_the_gradient_of_two_parabolas() -> None:
    x = torch.tensor(EDGES, dtype=torch.float64, requires_grad=True)
    g = upstream(x)
    a, ga = arrays(x, g)
    slope = np.where((a >= -1) & (a < 0), 2 + 2 * a, np.where((a >= 0) & (a < 1), 2 - 2 * a, 0))
    assert q.ApproximateSign()(x).tolist() == [-1] * 5 + [1] * 7
    np.testing.assert_allclose(gradient(q.ApproximateSign(), x, g), ga * slope, rtol=1e-15)


def test_binary_weights_are_clipped_after_a_step() -> None:
    w = latent(4, 3)
    g = upstream(w)
    a, ga = arrays(w, g)
    binary = q.Binary()
    assert np.array_equal(binary(w).detach(), np.where(a >= 0, 1, -1))
    assert np.array_equal(gradient(binary, w, g), ga * (np.abs(a) <= 1))
    with torch.no_grad():
        binary.project(w)
    assert np.array_equal(w.detach(), np.clip(a, -1, 1))


def test_xnor_weights_and_both_parts_of_their_gradient() -> None:
    w = latent(5, 2, 3, 3)
    g = upstream(w)
    a, ga = arrays(w, g)
    sign = np.where(a >= 0, 1, -1)
    alpha = np.abs(a).mean((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(q.Xnor()(w).detach(), alpha * sign, rtol=1e-15)
    by_hand = ga * alpha * (np.abs(a) <= 1) + sign * (ga * sign).mean((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(gradient(q.Xnor(), w, g), by_hand, rtol=1e-12)
    values, scale = q.Xnor().integers(w.detach())
    assert np.array_equal(values, sign)
    np.testing.assert_allclose(scale, alpha.reshape(-1), rtol=1e-15)


def test_xnor_weights_are_centred_over_the_input_channels() -> None:
    w = latent(5, 4, 3, 3).detach()
    before = w.numpy().copy()
    q.Xnor().project(w)
    assert np.array_equal(w, np.clip(before - before.mean(1, keepdims=True), -1, 1))
    single = torch.tensor([[2.0], [-0.5]])
    q.Xnor().project(single)  # with one input there would be nothing left
    assert single.tolist() == [[1.0], [-0.5]]


@pytest.mark.parametrize("scale_bits", [None, 7])
def test_ternary_gradients(scale_bits: int | None) -> None:
    w = latent(6, 5)
    g = upstream(w)
    a, ga = arrays(w, g)
    ternary = q.Ternary(w.detach(), t=0.3, scale_bits=scale_bits).double()
    ternary.negative.data.fill_(0.61)
    positive, negative = (float(s.detach()) for s in ternary._scales())
    limit = 0.3 * np.abs(a).max()
    above, below = a > limit, a < -limit
    assert above.any() and below.any() and not (above | below).all()
    out = ternary(w)
    assert np.array_equal(out.detach(), positive * above - negative * below)
    grads = torch.autograd.grad(out, (w, ternary.positive, ternary.negative), g)
    factors = np.where(above, positive, np.where(below, negative, 1))
    np.testing.assert_allclose(grads[0], ga * factors, rtol=1e-15)
    np.testing.assert_allclose(grads[1], ga[above].sum(), rtol=1e-12)
    np.testing.assert_allclose(grads[2], -ga[below].sum(), rtol=1e-12)


def test_ternary_scales_start_at_the_means_and_are_whole_steps() -> None:
    w = latent(6, 5).detach()
    a = w.numpy()
    ternary = q.Ternary(w, t=0.05)
    limit = 0.05 * np.abs(a).max()
    assert float(ternary.positive.detach()) == pytest.approx(a[a > limit].mean())
    assert float(ternary.negative.detach()) == pytest.approx(-a[a < -limit].mean())
    values, scale = ternary.integers(w)
    assert len(np.unique(values)) == 3
    assert 64 <= int(values.abs().max()) <= 127
    assert np.log2(float(scale[0])).is_integer()
    assert np.array_equal(values * scale, ternary(w).detach())
    ternary.positive.data.fill_(127.9 / 128)  # rounds up to a power of two
    ternary.negative.data.fill_(1e-9)
    assert sorted(np.unique(ternary.integers(w).values)) == [-1, 0, 64]


@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.5, 0.9])
def test_ternary_sparsity(sparsity: float) -> None:
    w = torch.tensor(np.random.default_rng(3).normal(size=(10, 20)))
    zeros = (q.Ternary(w, sparsity=sparsity)(w) == 0).sum()
    assert int(zeros) == round(sparsity * 200)


@pytest.mark.parametrize(("bits", "fraction", "signed"), [
    (1, 0, False), (2, 1, False), (2, 0, True), (4, 2, False), (8, 5, True), (8, -2, False)])
def test_fixed_point(bits: int, fraction: int, signed: bool) -> None:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    step = 2.0 ** -fraction
    steps = np.concatenate((np.arange(low - 2, high + 3), np.arange(low - 2, high + 3) + 0.5,
                            np.linspace(low - 1.3, high + 1.3, 50)))
    x = torch.tensor(steps * step, requires_grad=True)
    g = upstream(x)
    module = q.FixedPoint(bits, fraction, signed=signed)
    assert np.array_equal(module(x).detach(), np.clip(np.floor(steps + 0.5), low, high) * step)
    inside = (steps >= low) & (steps <= high)
    assert np.array_equal(gradient(module, x, g), g.numpy() * inside)


def test_one_bit_with_a_sign_is_minus_and_plus_one() -> None:
    x = torch.tensor([-3.0, -0.1, 0.0, 0.3], requires_grad=True)
    module = q.FixedPoint(1, 1, signed=True)
    assert module(x).tolist() == [-0.5, -0.5, 0.5, 0.5]
    assert gradient(module, x, torch.ones(4)).tolist() == [0, 1, 1, 1]
    weights = q.FixedPointWeights(1, x)
    assert set(weights.integers(x.detach()).values.tolist()) == {-1, 1}


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_fixed_point_weights_have_the_least_error_of_all_fractions(bits: int) -> None:
    w = latent(8, 9, seed=bits) * 0.2
    a = w.detach().numpy()
    weights = q.FixedPointWeights(bits, w.detach())
    high = (1 << bits - 1) - 1

    def quantized(fraction: int) -> Floats:
        return np.clip(np.floor(a * 2.0 ** fraction + 0.5), -high, high) * 2.0 ** -fraction

    errors = {f: np.abs(a - quantized(f)).sum() for f in range(-4, 20)}
    best = min(errors, key=errors.__getitem__)
    assert int(weights.fraction) == best
    assert np.array_equal(weights(w).detach(), quantized(best))
    values, scale = weights.integers(w.detach())
    assert int(values.abs().max()) <= high
    assert np.array_equal(values * scale, quantized(best))
    # In eval mode the fraction stays, whatever the weights.
    weights.eval()
    weights(4 * w)
    assert int(weights.fraction) == best


def test_rsign_moves_its_threshold() -> None:
    module = q.RSign(2).double()
    module.shift.data = torch.tensor([0.5, -0.25], dtype=torch.float64)
    x = torch.tensor([[0.5, -0.3], [0.4, 0.6]], dtype=torch.float64, requires_grad=True)
    out = module(x)
    assert out.tolist() == [[1, -1], [-1, 1]]
    g = upstream(x)
    slope = 2 - 2 * np.abs(x.detach().numpy() - [0.5, -0.25])
    by_x, by_shift = torch.autograd.grad(out, (x, module.shift), g)
    np.testing.assert_allclose(by_x, g.numpy() * slope)
    np.testing.assert_allclose(by_shift, -(g.numpy() * slope).sum(0))


def test_rprelu_and_its_gradients() -> None:
    module = q.RPReLU(3).double()
    shift, offset, slope = np.array([0.5, 0, -1]), np.array([0.1, -2, 3]), np.array([0.25, 2, -0.5])
    for parameter, values in ((module.shift, shift), (module.offset, offset),
                              (module.slope, slope)):
        parameter.data = torch.tensor(values)
    x = torch.tensor(np.random.default_rng(5).normal(size=(4, 3, 2, 2)), requires_grad=True)
    a, out = x.detach().numpy(), module(x)
    g_, b_, z_ = (v.reshape(3, 1, 1) for v in (shift, slope, offset))
    high = a > g_
    np.testing.assert_allclose(out.detach(), np.where(high, a - g_ + z_, b_ * (a - g_) + z_))
    grad = upstream(x)
    ga = grad.numpy()
    found = torch.autograd.grad(out, (x, module.shift, module.offset, module.slope), grad)
    by_x = ga * np.where(high, 1, b_)
    by_hand = (by_x, -by_x.sum((0, 2, 3)), ga.sum((0, 2, 3)),
               (ga * np.where(high, 0, a - g_)).sum((0, 2, 3)))
    for mine, wanted in zip(found, by_hand, strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-12)


def test_slopes_are_used_in_steps_whose_gradient_passes() -> None:
    module = q.RPReLU(2, fraction=2)
    module.slope.data = torch.tensor([0.3, -0.4])
    out = module(-torch.ones(1, 2))
    assert out.tolist() == [[-0.25, 0.5]]
    assert torch.autograd.grad(out.sum(), module.slope)[0].tolist() == [-1, -1]
    free = q.RPReLU(2, fraction=None)
    free.slope.data.fill_(0.3)
    assert torch.equal(free(-torch.ones(1, 2)), torch.full((1, 2), -0.3))


def test_blocks_add_and_repeat() -> None:
    x = torch.arange(4.0).reshape(1, 2, 2, 1)
    double = Residual(nn.Sequential(Repeat(2)), nn.Sequential(Repeat(2)))
    assert torch.equal(double(x), 2 * x[:, [0, 0, 1, 1]])
    assert torch.equal(Residual(nn.Sequential(nn.ReLU()))(-x), -x)
    assert repr(Repeat(2)) == "Repeat(2)"
    with pytest.raises(PenjingError, match="repeat: times must be an integer of at least 1, not 0"):
        Repeat(0)


def test_quantized_weights_of_a_layer_are_trained_and_projected() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 4, 3, bias=False)
    assert q.quantizer_of(layer) is None
    q.quantize_weights(layer, q.Binary())
    found = q.quantizer_of(layer)
    assert found is not None
    quantizer, stored = found
    assert isinstance(quantizer, q.Binary)
    assert set(layer.weight.detach().flatten().tolist()) == {-1, 1}
    optimizer = torch.optim.SGD(layer.parameters(), 100.0)
    layer(torch.ones(1, 2, 3, 3)).sum().backward()
    optimizer.step()
    assert float(stored.detach().abs().max()) > 1
    q.project(nn.Sequential(layer))
    assert float(stored.detach().abs().max()) == 1
    assert set(layer.weight.detach().flatten().tolist()) == {-1}
    assert math.isclose(float(stored.detach().min()), -1)


@pytest.mark.parametrize("bits", [0, 9, 2.0])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(PenjingError, match="fixed point: bits must be an integer from 1 to 8, not"):
        q.FixedPoint(bits, 0)


@pytest.mark.parametrize("setting", ["t", "sparsity"])
def test_ternary_settings_out_of_range_are_refused(setting: str) -> None:
    with pytest.raises(PenjingError, match=f"ternary weights: {setting} must be at least 0 and be"):
        q.Ternary(torch.ones(3, 3), **{setting: 1.0})
    with pytest.raises(PenjingError, match="ternary weights: their scales are floats"):
        q.Ternary(torch.ones(3, 3), scale_bits=None).integers(torch.ones(3, 3))
