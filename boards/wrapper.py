"""The accelerator behind the serial link: everything of a board design but clock and pins."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..compiler.dataflow.plan import Port
from ..compiler.ir import TensorType
from ..hdl.gearbox import Gearbox
from ..hdl.loadable import Loadable
from ..hdl.stream import Beat, HalfRateBuffer, connect
from ..hdl.tech import Technology
from .link import Deframer, Framer, Octet
from .protocol import Identity, element_bytes
from .uart import UartReceiver, UartTransmitter

__all__ = ["ElementsToOctets", "OctetsToElements", "Wrapper", "element_shape"]


def element_shape(tensor: TensorType) -> Shape:
    """The hardware shape of one element of ``tensor``."""
    return Shape(tensor.bits, tensor.signed)


class OctetsToElements(wiring.Component):
    """Elements out of bytes, lowest byte first; bits that an element does not have are dropped.

    Latency 1 from an element's highest byte; one byte a cycle.

    Parameters
    ----------
    shape : element shape.

    Members
    -------
    i : stream of `Octet`.
    o : stream of ``Beat(shape, 1)``.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__({"i": In(stream.Signature(Octet)),
                          "o": Out(stream.Signature(Beat(shape, 1)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.o.payload.shape().shape.width
        size = -(-width // 8)
        held = Signal(8 * size, reset_less=True)
        count = Signal(range(size))
        ends = Signal()
        m.d.comb += [Value.cast(self.o.p.data).eq(held[:width]), self.o.p.last.eq(ends),
                     self.i.ready.eq(~self.o.valid | self.o.ready)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            complete = count == size - 1
            m.d.sync += [held.eq(Cat(held, self.i.p.data)[8:]), self.o.valid.eq(complete),
                         ends.eq(self.i.p.last), count.eq(Mux(complete, 0, count + 1))]
        return m


class ElementsToOctets(wiring.Component):
    """Bytes out of elements, lowest byte first, extended by the sign if there is one.

    Latency 1; one byte a cycle.

    Parameters
    ----------
    shape : element shape.

    Members
    -------
    i : stream of ``Beat(shape, 1)``.
    o : stream of `Octet`; ``last`` is 1 in the highest byte of the frame's last element.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__({"i": In(stream.Signature(Beat(shape, 1))),
                          "o": Out(stream.Signature(Octet))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.i.payload.shape().shape
        size = -(-shape.width // 8)
        held = Signal(Shape(8 * size, shape.signed), reset_less=True)
        left = Signal(range(size + 1))
        ends = Signal()
        final = left == 1
        m.d.comb += [
            self.o.valid.eq(left != 0),
            self.o.p.data.eq(held[:8]),
            self.o.p.last.eq(final & ends),
            self.i.ready.eq((left == 0) | (final & self.o.ready)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [held.eq(held >> 8), left.eq(left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held.eq(self.i.p.data[0]), left.eq(size), ends.eq(self.i.p.last)]
        return m


class Wrapper(wiring.Component):
    """An accelerator that answers on a serial line as `protocol` says, one frame at a time.

    Parameters
    ----------
    accelerator : component with streams ``i`` and ``o`` of `Beat`; the weights of a `Loadable` one
        come over the line too.
    identity : the network's digest, and its input and output types.
    i_port, o_port : how the two tensors travel.
    divider : clock cycles a bit of the line (`uart.divider`).
    timeout : cycles of silence that end a message; 0.1 s or more where the host is a PC.
    technology : supplies the memory of a frame.

    Members
    -------
    rx : the line from the host, idle 1; need not be synchronous.
    tx : the line to the host.
    """

    def __init__(self, accelerator: wiring.Component, identity: Identity, *, i_port: Port,
                 o_port: Port, divider: int, timeout: int, technology: Technology) -> None:
        self._accelerator = accelerator
        self._identity = identity
        self._ports = i_port, o_port
        self._divider = divider
        self._timeout = timeout
        self._technology = technology
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    @property
    def buffer_bytes(self) -> int:
        """Bytes of block RAM that hold a frame until its checksum is known."""
        return self._bytes(self._identity.input_type)

    @staticmethod
    def _bytes(tensor: TensorType) -> int:
        return tensor.elements * element_bytes(tensor)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i_type, o_type = self._identity.input_type, self._identity.output_type
        i_port, o_port = self._ports
        i_shape, o_shape = element_shape(i_type), element_shape(o_type)

        loads = isinstance(self._accelerator, Loadable)
        m.submodules.receiver = receiver = UartReceiver(self._divider)
        m.submodules.deframer = deframer = Deframer(
            self.buffer_bytes, self._timeout, self._technology, loads=loads)
        m.submodules.elements = elements = OctetsToElements(i_shape)
        # Buffers end the paths: the line leaves 10 bits' time for each byte.
        m.submodules.buffer_in = buffer_in = HalfRateBuffer(Beat(i_shape, 1))
        m.submodules.fan_out = fan_out = Gearbox(
            i_shape, i_lanes=1, o_lanes=i_port.lanes, i_group=1, o_group=i_port.group,
            frame=i_type.elements)
        m.submodules.accelerator = self._accelerator
        m.submodules.fan_in = fan_in = Gearbox(
            o_shape, i_lanes=o_port.lanes, o_lanes=1, i_group=o_port.group, o_group=1,
            frame=o_type.elements)
        m.submodules.buffer_out = buffer_out = HalfRateBuffer(Beat(o_shape, 1))
        m.submodules.octets = octets = ElementsToOctets(o_shape)
        m.submodules.buffer_octets = buffer_octets = HalfRateBuffer(Octet)
        m.submodules.framer = framer = Framer(
            self._bytes(o_type), self._identity.encode(), loads=loads)
        m.submodules.transmitter = transmitter = UartTransmitter(self._divider)

        wiring.connect(m, receiver.o, deframer.i)
        connect(m, deframer, elements, buffer_in, fan_out, self._accelerator, fan_in, buffer_out,
                octets, buffer_octets, framer, transmitter)
        wiring.connect(m, deframer.reply, framer.reply)
        if isinstance(self._accelerator, Loadable):
            loaded = self._accelerator
            wiring.connect(m, deframer.load, loaded.load)
            m.d.comb += [deframer.quiet.eq(loaded.quiet), deframer.status.eq(loaded.status),
                         framer.status.eq(loaded.status)]
        m.d.comb += [
            receiver.rx.eq(self.rx),
            framer.sequence.eq(deframer.sequence),
            deframer.done.eq(framer.done),
            self.tx.eq(transmitter.tx),
        ]
        return m
