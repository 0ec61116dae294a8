"""Compile the example for ULX3S-85F, simulate real images under every stall pattern, evaluate.

Run it with ``make demo``, or by hand::

    python examples/fashion_mnist/demo.py [--images N] [--output DIR]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from penjing import flow
from penjing.compiler.dataflow.report import Table, table_of
from penjing.compiler.ir import PenjingError
from penjing.flow.console import print_tables, show_progress

HERE = Path(__file__).resolve().parent
BOARD = "ulx3s-85f"
TEST_IMAGES = HERE / "test_images.npz"


def table(project: flow.Project, simulation: flow.Simulation,
          evaluation: flow.Evaluation) -> Table:
    """What was found, in one table."""
    plan, found = project.plan, simulation.report
    rows: list[tuple[object, ...]] = [
        ("multiply-accumulates a frame", plan.macs),
        ("multipliers", plan.multipliers),
        ("useful share of their cycles", f"{plan.utilization:.1%}"),
        ("cycles a frame, predicted", plan.cycles_per_frame),
        ("cycles a frame, simulated", found.cycles_per_frame),
        ("latency in cycles, predicted", plan.latency_cycles),
        ("latency in cycles, simulated", found.latency_cycles),
        (f"frames a second at {plan.clock_mhz:g} MHz", plan.frames_per_second),
        ("real images simulated", simulation.frames),
        ("stall patterns", ", ".join(one.stalls.value for one in found.patterns)),
        ("output values compared with the golden model", found.values_compared),
        ("  of which differ", found.mismatches),
        ("test images evaluated", evaluation.samples),
        ("accuracy of the integer network", f"{evaluation.accuracy:.2%}")]
    if evaluation.float_accuracy is not None:
        rows.append(("accuracy of the float network", f"{evaluation.float_accuracy:.2%}"))
    if evaluation.oracle is not None:
        rows += [(f"output values compared with {evaluation.oracle}", evaluation.values_compared),
                 ("  of which differ", evaluation.oracle_mismatches)]
    rows.append(("Verilog", project.verilog))
    return table_of(f"Fashion-MNIST on {BOARD}", ("", ""), rows)


def main() -> int:
    """Run the demonstration; the exit status is 1 where a comparison failed."""
    parser = argparse.ArgumentParser(description="Fashion-MNIST, from PyTorch to simulated Verilog")
    parser.add_argument("--images", type=int, default=16, help="images to simulate")
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "build" / "fashion_mnist")
    options = parser.parse_args()
    with show_progress() as progress:
        project = flow.compile_model(
            HERE / "fashion_mnist.pt2", options.output, flow.Target(
                BOARD, multipliers=flow.Multipliers.DSP),
            flow.Quantization(HERE / "calibration.npz"), progress=progress)
        simulation = flow.simulate(project.path, images=TEST_IMAGES, frames=options.images,
                                   progress=progress)
        evaluation = flow.evaluate(project.path, TEST_IMAGES, progress)
    print_tables(table(project, simulation, evaluation))
    return 0 if simulation.passed and evaluation.passed else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PenjingError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        sys.exit(2)
