"""The Verilog of one network against the golden model: what the benches of single layers share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penjing.compiler.dataflow.design import Design
from penjing.compiler.dataflow.plan import Plan
from penjing.compiler.ir import Network
from penjing.flow.simulate import sample_frames, stream_format
from penjing.hdl.emit import emit
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.cosim import Job, Report, Source, simulate
from penjing.sim.streams import Stalls

TOP = "top"


def simulated(network: Network, plan: Plan, cache: Path, *, frames: int = 2,
              stalls: Sequence[Stalls] = (Stalls.NONE, Stalls.BOTH)) -> Report:
    """What the Verilog of ``network`` under ``plan`` does with extreme and random ``frames``.

    Simulators are kept in ``cache``, by content.
    """
    part = Design(network, plan).whole(Generic())
    inputs = sample_frames(network.input_type, frames, 1)
    outputs = golden.run(network, inputs).reshape(frames, -1)
    _, port = part.inputs["i"]
    job = Job((Source(stream_format(network.input_type, port), inputs.reshape(frames, -1)),),
              stream_format(network.output_type, part.o), outputs, tuple(stalls))
    return simulate(emit(part.component(), TOP), TOP, job, cache=cache)
