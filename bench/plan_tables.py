"""The tables of fronts of plans, and of what plans and simulators take to make, see `tables`."""

from __future__ import annotations

from collections.abc import Callable

import common
import fronts
import growth
from page_tables import table


def front() -> str:
    """The plans of ResNet8 that none surpasses and that may have all DSP blocks."""
    result = common.read(fronts.FILE)
    made = result["any"]
    most = max(one["dsps_allowed"] for one in made["points"])
    return table(
        ("cycles a frame", "frames/s", "LUTs", "DSPs", "block RAMs", "multipliers"),
        [(f"{one['cycles']:,}", f"{one['frames_per_second']:,.0f}", f"{one['luts']:,}",
          one["dsps"], one["brams"], one["multipliers"])
         for one in made["points"] if one["dsps_allowed"] == most], result)


def front_times() -> str:
    """What the fronts took."""
    result = common.read(fronts.FILE)
    return table(("`--multipliers`", "plans", "surpassed by none", "processor", "a plan"),
                 [(f"`{name}`", made["tried"], len(made["points"]), f"{made['seconds']} s",
                   f"{made['plan_ms']} ms") for name, made in result.items()
                  if isinstance(made, dict) and "tried" in made], result)


def chains() -> str:
    """What compiling takes by the number of layers."""
    result = common.read(growth.FILE)
    return table(("convolutions", "lines of Verilog", "processor", "for each"),
                 [(row["convolutions"], f"{row['lines']:,}", f"{row['seconds']:.2f} s",
                   f"{1000 * row['seconds'] / row['convolutions']:.0f} ms")
                  for row in result["chains"]], result)


def simulators() -> str:
    """What the first simulation of a large network takes, and the next."""
    result = common.read(growth.FILE)
    return table(("simulation", "multipliers", "processor in all", "of it simulating"),
                 [(row["time"], row["multipliers"], f"{row['seconds']} s",
                   f"{row['simulating_seconds']} s") for row in result["simulations"]], result)


TABLES: dict[str, Callable[[], str]] = {
    "front": front, "front-times": front_times, "chains": chains, "simulators": simulators}
