"""The network as a graph, and the type of every tensor in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from .constant import Constant
from .layers import Layer, MultiplyAccumulate
from .names import NAME, PORTS
from .sums import Sums
from .tail import Tail
from .tensor import Bipolar, PenjingError, TensorType, require


def checked_type(layer: Layer, types: Mapping[str, TensorType]) -> TensorType:
    """Type of what ``layer`` puts out, where ``types`` are those of all tensors before it.

    `PenjingError` if it does not fit behind them.
    """
    require(isinstance(layer, Layer), f"network: {type(layer).__name__} is not a layer")
    require(layer.name not in types,
            f"layer {layer.name}: its name is used twice; give it another")
    for name in layer.inputs:
        require(name in types, f"layer {layer.name}: its input {name!r} is no earlier layer")
    try:
        return layer.output_type(*(types[name] for name in layer.inputs))
    except PenjingError as error:
        if str(error).startswith(f"layer {layer.name}:"):
            raise
        raise PenjingError(f"layer {layer.name}: {error}") from None


@dataclass(frozen=True)
class Network:
    """A validated graph: the input's name and type, and the layers in topological order.

    Each layer reads the input or earlier layers; the last layer is the output, and bipolar tensors
    are within the network only. Its ``tail`` is what the host makes of the output; without one, the
    output is the answer. `PenjingError` names the first layer that does not fit.
    """

    name: str
    input: str
    input_type: TensorType
    layers: tuple[Layer, ...]
    tail: Tail | None = None
    _types: dict[str, TensorType] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for what, value in (("name", self.name), ("input", self.input)):
            require(isinstance(value, str) and NAME.fullmatch(value),
                    f"network: {what} must be an identifier, not {value!r}")
        require(self.name not in PORTS,
                f"network: name must not be {self.name}, as a port; give it another with --name")
        require(isinstance(self.layers, tuple) and self.layers, "network: it has no layers")
        require(not isinstance(self.input_type, Bipolar),
                "network: its input must not be bipolar; declare one bit without a sign, 1 for +1, "
                "and put a Threshold at 1 to -1 and +1 behind it")
        types = {self.input: self.input_type}
        for layer in self.layers:
            types[layer.name] = checked_type(layer, types)
        last = self.layers[-1].name
        types[last] = types[last].widened
        require(self.tail is None or isinstance(self.tail, Tail),
                f"network: its tail must be a Tail, not {self.tail!r}")
        if self.tail is not None:
            self.tail.check(types[last])
        object.__setattr__(self, "_types", types)

    def type_of(self, name: str) -> TensorType:
        """Type of the tensor that the input or layer ``name`` puts out."""
        return self._types[name]

    def source_type(self, layer: Layer) -> TensorType:
        """Type of the tensor that ``layer`` reads, of the first one if there are several."""
        return self._types[layer.input]

    @property
    def output_type(self) -> TensorType:
        """Type of the network's output."""
        return self._types[self.layers[-1].name]

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one frame, those on padding included."""
        return sum(layer.macs(self._types[layer.name]) for layer in self.layers)


def with_loadable_weights(network: Network) -> Network:
    """``network`` with weights and biases that hardware takes from a stream, so that its types hold
    for any others of the same bits; `PenjingError` where its own biases are beyond them, or what
    its weights are is in logic."""
    return replace(network, layers=tuple(
        _with_loadable_weights(layer) if isinstance(layer, MultiplyAccumulate) else layer
        for layer in network.layers))


def _with_loadable_weights(layer: MultiplyAccumulate) -> MultiplyAccumulate:
    require(not isinstance(layer.weights.encoding, Constant),
            f"layer {layer.name}: its weights are constants in logic, which no stream can change; "
            f"compile it with --encoding {layer.name}=plain")
    require(not isinstance(layer.weights.encoding, Sums),
            f"layer {layer.name}: what multiplies its sums is logic, which no stream can change; "
            f"compile it with --encoding {layer.name}=codebook")
    return replace(layer, weights=replace(layer.weights, loadable=True))
