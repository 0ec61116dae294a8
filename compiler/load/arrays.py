"""Networks given as plain arrays: integer weights and thresholds, layer by layer.

A network that was trained and binarized elsewhere often is no file of a framework but a few arrays.
This one has binary weights, and takes pixels::

    net = ArrayNetwork("mnist", TensorType((1, 1, 784), 8, False))
    net.sign(128)                                    # +1 from 128 on, else -1
    net.dense(w0)                                    # (256, 784) of -1 and +1
    net.sign(matching(t0, inputs=784))               # t0 (256,) counts of matching bits
    net.dense(w1)                                    # (10, 256)
    net.argmax()
    network = net.network()

Everything is an integer. A layer with weights puts out exact accumulators ``bias + sum(w * x)``,
and the thresholds behind it are in their units: ``x >= t`` counts, in *falling* channels ``x < t``.
Maps are (height, width, channels), in raster order where they become vectors.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import ir
from ..ir import Integers, Network, PenjingError, TensorType, Weights

__all__ = ["ArrayNetwork", "matching"]

_WEIGHT_LIMIT = 1 << 15
_LIMIT = 1 << ir.MAX_BITS - 2


def matching(thresholds: ArrayLike, inputs: int, *, strict: bool = False) -> Integers:
    """``thresholds`` on counts of matching bits, in units of the accumulators of signs.

    With m of ``inputs`` products +1, as an XNOR and a popcount find it, the others are -1 and the
    sum is ``2 * m - inputs``. Without `strict`, ``m >= t`` is meant, with it ``m > t``; a falling
    channel that counts ``m <= t`` is the opposite of the strict one. `PenjingError` for thresholds
    that are no whole numbers.
    """
    if type(inputs) is not int or not 1 <= inputs <= ir.MAX_ELEMENTS:
        raise PenjingError(f"matching: inputs must be an integer from 1 to {ir.MAX_ELEMENTS}, not "
                           f"{inputs!r}")
    return 2 * (_whole("matching", "thresholds", thresholds, _LIMIT // 4) + int(strict)) - inputs


class ArrayNetwork:
    """A chain of layers that grows; `network` is the integer network.

    Each method appends one layer, checked on the spot: `PenjingError` names it. Arrays may be
    anything that numpy takes, of integers or of floats that are whole. ``name`` is the instance's
    in the Verilog; by default the kind of layer and a number.

    Parameters: ``name`` of the network, and ``input`` (H, W, C), a vector being (1, 1, C), of any
    width, signed or not. Where it is of signs, declare one bit without a sign, bit 1 being +1, and
    let ``sign(1)`` come first. What one step of the input is worth (``fraction`` or ``scale``) is
    for data that come as floats.
    """

    def __init__(self, name: str, input: TensorType) -> None:  # noqa: A002
        if not isinstance(input, TensorType):
            raise PenjingError(f"network {name}: its input must be a TensorType, not {input!r:.80}")
        self._name = name
        self._net = ir.Builder(input)
        self._kinds: Counter[str] = Counter()

    @property
    def type(self) -> TensorType:
        """The type of what the last layer puts out."""
        return self._net.type

    def network(self) -> Network:
        """The network so far; its last layer is the output."""
        return self._net.network(self._name)

    # --- layers with weights
    def dense(self, weights: ArrayLike, bias: ArrayLike | None = None, *,
              name: str | None = None) -> None:
        """``bias + weights @ x``: (outputs, inputs), a map being taken as a vector in raster order.

        PyTorch flattens a map channel by channel: bring its matrix to this order with
        ``w.reshape(outputs, C, H, W).transpose(0, 2, 3, 1).reshape(outputs, -1)``.
        """
        name = self._named("dense", name)
        values, offsets = self._trained(name, weights, bias, ("outputs", "inputs"))
        if self._net.type.shape[:2] != (1, 1):
            self._net.add(ir.Flatten(self._named("flatten", None), self._net.tail))
        self._net.add(ir.Dense(name, self._net.tail, values, offsets))

    def convolution(self, weights: ArrayLike, bias: ArrayLike | None = None, *,
                    stride: int | tuple[int, int] = 1,
                    padding: int | tuple[int, int, int, int] = 0, pad_value: int | None = None,
                    groups: int = 1, name: str | None = None) -> None:
        """A convolution by (outputs, height, width, inputs / groups); PyTorch's are (0, 2, 3, 1).

        ``padding`` is (top, bottom, left, right), of ``pad_value``, which is 0 by default. A map of
        signs has no 0, so there it must be given, as -1 or +1.
        """
        name = self._named("conv", name)
        values, offsets = self._trained(name, weights, bias,
                                        ("outputs", "height", "width", "inputs"))
        border, value = self._padding(name, padding, pad_value)
        self._net.add(ir.Convolution(name, self._net.tail, values, offsets, _pair(stride), border,
                                     value, groups))

    def depthwise(self, weights: ArrayLike, bias: ArrayLike | None = None, *,
                  stride: int | tuple[int, int] = 1,
                  padding: int | tuple[int, int, int, int] = 0, pad_value: int | None = None,
                  name: str | None = None) -> None:
        """A convolution of each channel by itself: (outputs, height, width).

        There may be several outputs a channel, those of the first one first.
        """
        name = self._named("depthwise", name)
        values, offsets = self._trained(name, weights, bias, ("outputs", "height", "width"))
        border, value = self._padding(name, padding, pad_value)
        self._net.add(ir.Depthwise(name, self._net.tail, values, offsets, _pair(stride), border,
                                   value))

    # --- activations
    def sign(self, thresholds: ArrayLike = 0, *, falling: ArrayLike = False,
             name: str | None = None) -> None:
        """+1 where ``x >= t``, else -1; the reverse in channels that are ``falling``.

        ``thresholds`` and ``falling`` are one value, or (channels,).
        """
        name = self._named("sign", name)
        values = _whole(f"layer {name}", "thresholds", thresholds, _LIMIT)
        if values.ndim > 1:
            raise PenjingError(f"layer {name}: thresholds must be one, or one a channel, not of "
                               f"shape {values.shape}; use threshold for several a channel")
        self._counted(name, values.reshape(-1, 1), falling, -1, 2)

    def threshold(self, thresholds: ArrayLike, *, falling: ArrayLike = False, base: int = 0,
                  step: int = 1, name: str | None = None) -> None:
        """``base + step * count`` of a channel's thresholds with ``x >= t``, or ``x < t``.

        ``thresholds`` are (channels, T), T up to 255 in ascending order, or (1, T) for all channels
        alike; ``falling`` is one value, or (channels,). The result has as few bits as hold it.
        """
        name = self._named("threshold", name)
        values = _whole(f"layer {name}", "thresholds", thresholds, _LIMIT)
        if values.ndim != 2:
            raise PenjingError(f"layer {name}: thresholds must be (channels, T) or (1, T), not of "
                               f"shape {values.shape}")
        self._counted(name, values, falling, base, step)

    def _counted(self, name: str, thresholds: Integers, falling: ArrayLike, base: int,
                 step: int) -> None:
        owner = f"layer {name}"
        if type(base) is not int or type(step) is not int or max(abs(base), abs(step)) > 1 << 16:
            raise PenjingError(f"{owner}: base and step must be integers within ±{1 << 16}, not "
                               f"{base!r} and {step!r}")
        falls = np.asarray(falling)
        if falls.dtype.kind == "b":
            falls = falls.astype(np.int64)
        falls = _whole(owner, "falling", falls, 1).reshape(-1)
        rows = max(len(thresholds), len(falls))
        if not {len(thresholds), len(falls)} <= {1, rows} or falls.min() < 0:
            raise PenjingError(f"{owner}: falling must be 0 or 1, one or one a channel, not "
                               f"{len(falls)} for {len(thresholds)} channels")
        top = base + step * thresholds.shape[1]
        signed = base < 0
        bits = ir.signed_bits(base, top) if signed else ir.unsigned_bits(top)
        self._net.add(ir.Threshold(
            name, self._net.tail, np.broadcast_to(thresholds, (rows, thresholds.shape[1])),
            np.broadcast_to(falls, (rows,)), bits, signed, base, step))

    # --- the rest
    def max_pool(self, kernel: int | tuple[int, int], stride: int | tuple[int, int] | None = None,
                 *, padding: int | tuple[int, int, int, int] = 0, name: str | None = None) -> None:
        """The greatest value of each window, of signs an OR; the stride defaults to the kernel."""
        size = _pair(kernel)
        self._net.add(ir.MaxPool(self._named("pool", name), self._net.tail, size,
                                size if stride is None else _pair(stride), _border(padding)))

    def argmax(self, *, name: str | None = None) -> None:
        """The index of the greatest channel; the lowest index wins a tie."""
        self._net.add(ir.ArgMax(self._named("argmax", name), self._net.tail))

    def _named(self, kind: str, name: str | None) -> str:
        self._kinds[kind] += 1
        return f"{kind}{self._kinds[kind]}" if name is None else name

    def _trained(self, name: str, weights: ArrayLike, bias: ArrayLike | None,
                 axes: tuple[str, ...]) -> tuple[Weights, Integers]:
        owner = f"layer {name}"
        values = _whole(owner, "weights", weights, _WEIGHT_LIMIT - 1)
        if values.ndim != len(axes):
            raise PenjingError(f"{owner}: weights must be ({', '.join(axes)}), not of shape "
                               f"{values.shape}")
        offsets = (np.zeros(len(values), np.int64) if bias is None
                   else _whole(owner, "bias", bias, _LIMIT))
        return Weights.narrowest(values), offsets

    def _padding(self, name: str, padding: int | tuple[int, int, int, int], value: int | None
                 ) -> tuple[tuple[int, int, int, int], int]:
        border = _border(padding)
        signs = isinstance(self._net.type, ir.Bipolar)
        if signs and border != (0, 0, 0, 0) and value not in (-1, 1):
            raise PenjingError(f"layer {name}: a map of signs has no {value or 0} to pad it with; "
                               f"give the pad_value -1 or 1 that it was trained with")
        return border, 0 if value is None else value


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _border(value: int | tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return (value,) * 4 if isinstance(value, int) else value


def _whole(owner: str, what: str, values: ArrayLike, limit: int) -> NDArray[np.int64]:
    """``values`` as integers within ±``limit``, refused unless they are whole numbers."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):  # rows of different lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf":
        raise PenjingError(f"{owner}: {what} must be an array of numbers, not of "
                           f"{array.dtype if array.size else 'rows that differ'}; signs are -1 and "
                           f"+1")
    if not 0 < array.size <= ir.MAX_ELEMENTS:
        raise PenjingError(f"{owner}: {what} have {array.size} values; 1 to {ir.MAX_ELEMENTS} are "
                           f"allowed")
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise PenjingError(f"{owner}: {what} hold NaN or infinite values; repair them")
        broken = array[array != np.rint(array)]
        if broken.size:
            raise PenjingError(f"{owner}: {what} must be whole numbers, not {broken[0]:g}; "
                               f"quantize them first")
    # As they are: a uint64 or a float beyond int64 would wrap in a cast.
    beyond = array[(array > limit) | (array < -limit)]
    if beyond.size:
        raise PenjingError(f"{owner}: {what} must lie within ±{limit}, not {beyond[0]}; narrow "
                           f"them")
    return array.astype(np.int64)
