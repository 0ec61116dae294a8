"""Tables of networks as they were simulated, placed and routed, and of others' beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import binary_networks
import common
import few_bits
import icebreaker
import mlperf_tiny
import named_networks
import sparse_vgg16
import ulx3s
from page_tables import both, grid, of, percent, script, table
from pruning_tables import RESNET20_FILE
from rows import of as studied

PEERS = Path(__file__).with_name("peers.json")
CELLS = ("luts", "ffs", "dsps", "brams")
SIMULATED = "RTL ≠ golden", "cycles a frame, predicted", "latency, predicted"


def fps(routed: Mapping[str, Any], cycles: int) -> str:
    """Frames a second at the clock that was reached."""
    return f"{routed['fmax_mhz'] * 1e6 / cycles:,.0f}"


def networks(file: str) -> dict[str, Any]:
    """The networks of a result file."""
    found: dict[str, Any] = common.read(file)["networks"]
    return found


def steps(entries: Iterable[Mapping[str, Any]], *names: str) -> list[Mapping[str, Any]]:
    """What is stored of these steps, with which each was made."""
    return [entry[name] for entry in entries for name in names if name in entry]


def mlperf() -> str:
    """The MLPerf Tiny networks on DSP blocks alone: exactness, accuracy and cycles."""
    known = {one.title: networks(mlperf_tiny.FILE)[one.name] for one in mlperf_tiny.DSP_ONLY}
    rows = []
    for title, entry in known.items():
        golden = entry["golden"]
        accuracy = (f"{percent(golden['accuracy'], 2)} of {golden['samples']:,}"
                    if "accuracy" in golden else "no images")
        rows.append((title, f"{entry['plan']['macs']:,}",
                     of(golden["logit_mismatches"], golden["logits_compared"]), accuracy,
                     *simulated(entry)))
    return table(("network", "MACs", "golden ≠ LiteRT", "accuracy", *SIMULATED), rows,
                 *steps(known.values(), "golden", "rtl"))


def mlperf_whole() -> str:
    """The same with products in look-up tables as well, beside what is asked of them."""
    stored = networks(mlperf_tiny.FILE)
    known = {one: stored[one.name] for one in (*mlperf_tiny.WHOLE_CHIP, mlperf_tiny.SMALL)
             if one.name in stored}
    rows = []
    for one, entry in known.items():
        plan = entry["plan"]
        rows.append((one.title, plan["products"], percent(plan["utilization"]), *simulated(entry),
                     f"{one.most_cycles:,}"))
    return table(("network", "products a cycle", "at work", *SIMULATED, "cycles asked for"), rows,
                 *steps(known.values(), "rtl"))


def simulated(entry: Mapping[str, Any]) -> list[str]:
    """Values that differ, cycles and latency: what `SIMULATED` heads."""
    rtl, plan = entry["rtl"], entry["plan"]
    return [of(rtl["mismatches"], rtl["values_compared"]),
            both(rtl["cycles_per_frame"], plan["predicted_cycles_per_frame"]),
            both(rtl["latency_cycles"], plan["predicted_latency_cycles"])]


def mlperf_routed() -> str:
    """What the MLPerf Tiny networks take of their boards."""
    known = {name: entry for name, entry in networks(mlperf_tiny.FILE).items()
             if "routed" in entry}
    return table(("network", "LUTs, predicted", "flip-flops, predicted", "DSPs, predicted",
                  "block RAMs, predicted", "Fmax", "frames/s", "first to last"),
                 [(mlperf_tiny.TITLES[name], *routed_cells(entry),
                   fps(entry["routed"], entry["rtl"]["cycles_per_frame"]),
                   f"{entry['rtl']['latency_cycles'] / entry['routed']['fmax_mhz'] / 1e3:.2f} ms")
                  for name, entry in known.items()], *steps(known.values(), "routed"))


def routed_cells(entry: Mapping[str, Any]) -> list[str]:
    """Cells found and predicted, and Fmax."""
    found, predicted = entry["routed"], entry["plan"]["predicted"]
    return [*(both(found[cell], predicted[cell]) for cell in CELLS),
            f"{found['fmax_mhz']:.1f} MHz"]


def peers() -> str:
    """What others have published of networks that are routed here, beside our fastest."""
    published = json.loads(PEERS.read_text(encoding="utf-8"))
    rows = []
    for network, title in published["networks"].items():
        lines = [fastest(network), *(
            (row["frames_per_second"], row["tool"], row["board"], row.get("mhz"), row.get("dsps"),
             f"[{row['source']}]({row['url']})")
            for row in published["rows"] if row["network"] == network)]
        lines.sort(reverse=True, key=lambda line: line[0])
        rows += [(title if n == 0 else "", tool, board, f"{mhz:.0f}" if mhz else "",
                  "" if dsps is None else dsps, f"{rate:,.0f}",
                  f"{rate / mhz:.1f}" if mhz else "", f"{rate / dsps:.1f}" if dsps else "", source)
                 for n, (rate, tool, board, mhz, dsps, source) in enumerate(lines)]
    headings = ("network", "tool", "board", "MHz", "DSPs", "frames/s", "a MHz", "a DSP", "source")
    return (f"{grid(headings, rows)}\n\n"
            f"Sources of others looked up on {published['looked_up']} (`bench/peers.json`); where "
            "they name no clock or no DSPs, these are left open.")


def fastest(network: str) -> tuple[float, str, str, float, int, str]:
    """Ours: frames a second, tool, board, MHz, DSP blocks and command; what was routed, if any."""
    ours = {**networks(mlperf_tiny.FILE), **networks(binary_networks.FILE)}
    lines = []
    for name in (network, f"{network}{mlperf_tiny.WHOLE}"):
        if name in ours:
            routed, plan = ours[name].get("routed"), ours[name]["plan"]
            mhz = (routed or {"fmax_mhz": plan["clock_mhz"]})["fmax_mhz"]
            tool = "**Penjing**" if routed else f"**Penjing**, simulated, at {mhz:g} MHz"
            lines.append((routed is not None, (
                mhz * 1e6 / ours[name]["rtl"]["cycles_per_frame"], tool, "ULX3S-85F", mhz,
                (routed or plan["predicted"])["dsps"], script(routed or plan))))
    return max(lines)[1]


def binary() -> str:
    """The binary networks that others trained."""
    known = networks(binary_networks.FILE)
    rows = [(binary_networks.TITLES[name], f"{entry['plan']['macs']:,}", entry["rtl"]["frames"],
             *simulated(entry)) for name, entry in known.items()]
    return table(("network", "MACs", "frames, each pattern", *SIMULATED), rows,
                 *steps(known.values(), "rtl"))


def binary_routed() -> str:
    """What the binary networks take of a ULX3S-85F."""
    known = {name: entry for name, entry in networks(binary_networks.FILE).items()
             if "routed" in entry}
    return table(("network", "LUTs, predicted", "flip-flops, predicted", "DSPs, predicted",
                  "block RAMs, predicted", "Fmax", "frames/s"),
                 [(binary_networks.TITLES[name], *routed_cells(entry),
                   fps(entry["routed"], entry["rtl"]["cycles_per_frame"]))
                  for name, entry in known.items()], *steps(known.values(), "routed"))


def gallery() -> str:
    """Networks × boards: all that is stored, those with a bitstream first."""
    rows = sorted(pieces(), key=lambda row: (row["board"], "fmax_mhz" not in row))
    shown = []
    for row in rows:
        routed = "fmax_mhz" in row
        clock = row.get("clock_mhz", row.get("fmax_mhz"))
        shown.append((
            row["title"], row["board"], f"{row['macs']:,}", f"{row['cycles']:,}",
            *((f"{row[cell]:,}" if routed else f"~{row[cell]:,}") for cell in CELLS),
            f"{row['fmax_mhz']:.1f} MHz" if routed else "",
            f"{clock * 1e6 / row['cycles']:,.0f}" if routed else "", row["date"],
            script(row)))
    return grid(("network", "board", "MACs", "cycles a frame", "LUTs", "flip-flops", "DSPs",
                 "block RAMs", "Fmax", "frames/s", "date", "command"), shown)


def pieces() -> Iterator[dict[str, Any]]:
    """What the gallery shows: title, board, MACs, cycles, cells, command and, if routed, Fmax."""
    for file, titles in ((mlperf_tiny.FILE, mlperf_tiny.TITLES),
                         (binary_networks.FILE, binary_networks.TITLES)):
        targets = {**{case.name: case.target.board for case in binary_networks.CASES},
                   **{case.name: case.board for case in mlperf_tiny.BENCHMARKS}}
        for name, entry in networks(file).items():
            plan = entry["plan"]
            yield {"title": titles[name], "board": targets[name],
                   "macs": plan["macs"], "cycles": plan["predicted_cycles_per_frame"],
                   **plan["predicted"], **stamped(plan), **reached(entry.get("routed"))}
    example = common.read(ulx3s.FILE)
    best = max(example["runs"], key=lambda run: run["fmax_mhz"])
    yield {"title": f"Fashion-MNIST, {example['multipliers']} multipliers",
           "board": example["board"], "macs": example["macs"],
           "cycles": example["cycles_per_frame"], **stamped(example), **reached(best, example)}
    for row in common.read(few_bits.FILE)["rows"]:
        if "hardware" in row:
            made_ = row["hardware"]
            yield {"title": f"Fashion-MNIST, `{row['kind']}`", "board": made_["board"],
                   "macs": row["macs"], "cycles": made_["cycles_per_frame"], **reached(made_)}
    small = common.read(icebreaker.FILE)
    for name, entry in small["networks"].items():
        yield {"title": f"Fashion-MNIST, {name}", "board": small["board"], "macs": entry["macs"],
               "cycles": entry["cycles_per_frame"], "clock_mhz": entry["clock_mhz"],
               **reached({**entry["measured"], "fmax_mhz": entry["fmax_mhz"]}, small)}
    pruned = common.read(RESNET20_FILE)
    places = {row["network"]: row for row in studied(pruned, "routed")}
    for row in studied(pruned, "hardware"):
        yield {"title": f"ResNet-20, {row['network']}", "board": row["board"],
               "macs": row["macs"], "cycles": row["cycles"], **planned(row),
               **reached(places.get(row["network"]))}
    fitted = common.read(sparse_vgg16.FILE)["fitted"]
    yield {"title": "VGG-16, 99 % zeros", "board": fitted["plan"]["device"],
           "macs": fitted["plan"]["macs"], "cycles": fitted["plan"]["cycles_per_frame"],
           **planned(fitted["plan"]), **reached(fitted.get("routed"))}
    for name, entry in networks(named_networks.FILE).items():
        if "plan" in entry:
            plan = entry["plan"]
            yield {"title": f"{named_networks.NETWORKS[name].title} (random weights)",
                   "board": plan["board"], "macs": plan["macs"],
                   "cycles": plan["cycles_per_frame"], **{cell: plan[cell] for cell in CELLS},
                   **stamped(plan)}


def planned(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Cells of a plan with a DSP block for each multiplier, and by what command."""
    return {**{cell: plan[cell] for cell in CELLS if cell != "dsps"}, "dsps": plan["multipliers"],
            **stamped(plan)}


def stamped(result: Mapping[str, Any]) -> dict[str, str]:
    """Its command and date."""
    return {"command": result["command"], "date": result["date"]}


def reached(routed: Mapping[str, Any] | None, stamp: Mapping[str, Any] | None = None
            ) -> dict[str, Any]:
    """Cells and Fmax after routing, and by what command; nothing where it was not routed."""
    if routed is None:
        return {}
    return {**{key: routed[key] for key in (*CELLS, "fmax_mhz")}, **stamped(stamp or routed)}


TABLES: dict[str, Callable[[], str]] = {
    "binary": binary, "binary-routed": binary_routed, "gallery": gallery, "mlperf": mlperf,
    "mlperf-routed": mlperf_routed, "mlperf-whole": mlperf_whole, "peers": peers}
