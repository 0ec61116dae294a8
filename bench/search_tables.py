"""The tables of searches and distillation, see `tables`."""

from __future__ import annotations

from collections.abc import Callable

import common
import distillation
import numpy as np
import search_speed
import searches
from page_tables import percent, table
from rows import of as studied


def spread(values: list[float]) -> str:
    """The mean, and from which to which."""
    if len(values) == 1:
        return percent(values[0], 2)
    return (f"{percent(float(np.mean(values)), 2)} ({percent(min(values), 2)} to "
            f"{percent(max(values), 2)})")


def channels(network: str) -> Callable[[], str]:
    """What agents find at half the cycles, a row an agent."""
    def made() -> str:
        rows = [row for row in studied(common.read(searches.FILE), "channels")
                if row["network"] == network]
        lines = []
        for agent in searches.AGENTS:
            some = [row for row in rows if row["agent"] == agent]
            if some:
                cycles = max(row["cost"]["cycles"] for row in some)
                lines.append((
                    f"`{agent}`", len(some), max(row["trials"] for row in some),
                    spread([row["judged"] for row in some]),
                    spread([row["accuracy"] for row in some]),
                    f"{cycles:,} of {some[0]['whole']['cycles']:,}"))
        return table(("agent", "seeds", "trials", "accuracy that judged the trials",
                      "of the test images", "cycles a frame"), lines, *rows)

    return made


def bits() -> str:
    """Uniform widths, importance and HAQ."""
    rows = studied(common.read(searches.FILE), "bits")
    return table(
        ("widths", "seed", "trials", "of the test images", "cycles a frame", "frames/s", "LUTs",
         "block RAMs", "weight bits"),
        [(f"all {max(row['levels'].values())} bits" if row["agent"] == "uniform"
          else f"`{row['agent']}`", row["seed"], row["trials"], percent(row["accuracy"], 2),
          f"{row['cost']['cycles']:,}", f"{row['cost']['frames_per_second']:,.0f}",
          f"{row['cost']['luts']:,}", row["cost"]["brams"], f"{row['cost']['weight_bits']:,}")
         for row in rows], *rows)


def routed() -> str:
    """Networks of few bits, placed and routed."""
    rows = studied(common.read(searches.FILE), "routed")
    return table(
        ("network", "of the test images", "cycles a frame", "LUTs", "DSPs", "block RAMs", "Fmax",
         "frames/s at Fmax", "values that differ"),
        [(row["network"].removeprefix("bits/"), percent(row["accuracy"], 2), f"{row['cycles']:,}",
          f"{row['luts']:,}", row["dsps"], row["brams"], f"{row['fmax_mhz']} MHz",
          f"{row['frames_per_second']:,.0f}", f"{row['mismatches']} of {row['values']:,}")
         for row in rows], *rows)


def speed() -> str:
    """What the cost of a candidate takes."""
    result = common.read(search_speed.FILE)
    rows = result["cases"]
    return table(("candidates", "of", "oracle", "all of them", "`schedule`", "times slower",
                  "before the oracle", "times slower"), [
        (title, f"{row['candidates']:,}", f"{row['oracle_ms']:.1f} ms",
         f"{row['oracle_seconds']:.1f} s", f"{row['schedule_ms']:,.0f} ms",
         f"{row['ratio']:.1f}", f"{row['earlier_ms']:,.0f} ms", f"{row['earlier_ratio']:.1f}")
        for title, row in rows.items()], *rows.values())


def taught() -> str:
    """With and without a teacher."""
    result = common.read(distillation.FILE)
    lines = []
    for study in distillation.STUDIES:
        alone, with_teacher = distillation.means(result, study)
        lines.append((study, spread(alone), spread(with_teacher),
                      f"{100 * (np.mean(with_teacher) - np.mean(alone)):+.2f}"))
    return table(("network", "labels alone", "with a teacher", "gain in points"), lines,
                 *result["rows"].values())


TABLES: dict[str, Callable[[], str]] = {
    "distillation": taught, "search-bits": bits, "search-routed": routed, "search-speed": speed,
    "search-fashion": channels("fashion"), "search-resnet20": channels("resnet20")}
