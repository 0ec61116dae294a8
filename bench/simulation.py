"""The Verilog of one network against the golden model: what the benches of single layers share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penjing.compiler.dataflow.design import Design
from penjing.compiler.dataflow.plan import Plan, Port
from penjing.compiler.ir import Bipolar, Network, TensorType
from penjing.flow.simulate import sample_frames
from penjing.hdl.emit import emit
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.cosim import Job, Report, Source, StreamFormat, simulate
from penjing.sim.streams import Stalls

TOP = "top"


def simulated(network: Network, plan: Plan, cache: Path, *, frames: int = 2,
              stalls: Sequence[Stalls] = (Stalls.NONE, Stalls.BOTH)) -> Report:
    """What the Verilog of ``network`` under ``plan`` does with extreme and random ``frames``.

    Simulators are kept in ``cache``, by content.
    """
    part = Design(network, plan).whole(Generic())
    inputs = sample_frames(network.input_type, frames, 1)
    source = _format(network.input_type, plan.layers[0].i)
    outputs = golden.run(network, inputs).reshape(frames, -1)
    job = Job((Source(source, inputs.reshape(frames, -1)),),
              _format(network.output_type, part.o), outputs, tuple(stalls))
    return simulate(emit(part.component(), TOP), TOP, job, cache=cache)


def _format(kind: TensorType, port: Port) -> StreamFormat:
    return StreamFormat(kind.bits, kind.signed, port.lanes, port.group, isinstance(kind, Bipolar))
