"""The tables of the documents, from the results that the benchmarks have stored.

In README.md and docs/ a table stands between two comments, ``<!-- table: NAME -->`` and
``<!-- end -->``. ``--write`` renders what is between them anew, ``--check`` only tells which page
says something else; both refuse a name that no function here has.

    python bench/tables.py --write
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import beside_nngen
import cifar_resnets
import common
import emission
import few_bits
import foreign_files
import icebreaker
import layers
import link
import mixed_precision
import named_networks
import network_tables
import pairs
import plan_tables
import pruning_tables
import reference
import resources
import search_tables
import sparse_tables
import ulx3s
import winograd
from network_tables import CELLS, fps, networks, steps
from page_tables import both, grid, of, percent, table
from penjing import boards
from penjing.compiler.ir import PenjingError

ROOT = Path(__file__).parents[1]
REGION = re.compile(r"(<!-- table: (.*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
FRAMEWORKS = {"onnx": "`.onnx`: ONNX Runtime", "pt2e": "`.pt2` by PT2E: PyTorch",
              "pytorch": "`.pt2` of floats: PyTorch", "tflite": "`.tflite`: LiteRT"}
"""Files by what runs them besides the golden model."""


def pages() -> list[Path]:
    """The documents that may have tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rendered(text: str, where: str = "") -> str:
    """``text`` with what is in each of its regions made anew."""
    def region(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise PenjingError(f"{where}: no table is called {match[2]}; there are "
                               f"{', '.join(sorted(TABLES))}")
        return f"{match[1]}{TABLES[match[2]]()}\n{match[4]}"

    return REGION.sub(region, text)


def stale() -> Iterator[tuple[Path, str]]:
    """Each page that does not say what the results say, and what it should be."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        wanted = rendered(text, page.name)
        if text != wanted:
            yield page, wanted


# Tables, in the order of docs/results.md.


def schedule() -> str:
    """How well multipliers are used."""
    result = common.read("schedule.json")
    return table(("multipliers allowed", "used", "cycles a frame", "latency", "useful"),
                 [(row["budget"], row["multipliers"], f"{row['cycles_per_frame']:,}",
                   f"{row['latency_cycles']:,}", percent(row["utilization"]))
                  for row in result["schedules"]], result)


def example_routed() -> str:
    """The example on ULX3S-85F, seed by seed."""
    result = common.read(ulx3s.FILE)
    predicted = result["predicted"]
    return table(("seed", "LUTs, predicted", "flip-flops, predicted", "DSPs, predicted",
                  "block RAMs, predicted", "Fmax", "frames/s"),
                 [(run["seed"], *(both(run[cell], predicted[cell]) for cell in CELLS),
                   f"{run['fmax_mhz']} MHz", fps(run, result["cycles_per_frame"]))
                  for run in sorted(result["runs"], key=lambda run: run["seed"])], result)


def precision() -> str:
    """Accuracy of the example by width."""
    result = common.read("precision.json")
    rows = [(row["bits"], *(percent(row[key], 2) for key in ("dynamic", "output", "static")))
            for row in result["rows"]]
    return table(("bits", "dynamic", "judged by output", "best static pair"),
                 [("float", percent(result["float"], 2), "", ""), *rows], result)


def few_bits_modes() -> str:
    """ResNet-20 with few bits by how ranges are chosen."""
    result = common.read(mixed_precision.FILE)
    modes = [mode.value for mode in mixed_precision.MODES]
    return table(("bits", "by each map", "by the output", "by divergence"),
                 [("float", percent(result["float"], 2), "", ""),
                  *((row["bits"], *(percent(row[mode], 2) for mode in modes))
                    for row in result["uniform"])], result)


def by_importance() -> str:
    """ResNet-20 with weights of as many bits in all layers, or by importance."""
    result = common.read(mixed_precision.FILE)
    return table(("bits a weight", "all layers alike", "by importance", "bits stored", "fewest",
                  "most"),
                 [(row["average"], percent(row["uniform"], 2), percent(row["mixed"], 2),
                   f"{row['stored_bits']:,}", min(row["bits"].values()), max(row["bits"].values()))
                  for row in result["mixed"]], result)


def cifar() -> str:
    """ResNets on CIFAR-10."""
    result = common.read(cifar_resnets.FILE)
    return table(("network", "layers here", "images", "float", "8 bits"),
                 [(f"ResNet-{row['depth']}", row["layers"], f"{row['images']:,}",
                   percent(row["float"], 2), percent(row["fixed"], 2))
                  for row in result["networks"]], result)


def cifar_rtl() -> str:
    """ResNet-20 in hardware."""
    rtl = common.read(cifar_resnets.FILE)["rtl"]
    return table(("network", "board", "multipliers", "block RAMs", "RTL ≠ golden",
                  "cycles a frame, predicted", "latency, predicted"),
                 [("ResNet-20", rtl["board"], rtl["multipliers"], rtl["brams"],
                   of(rtl["mismatches"], rtl["values_compared"]),
                   both(rtl["cycles_per_frame"], rtl["predicted"][0]),
                   both(rtl["latency_cycles"], rtl["predicted"][1]))], rtl)


def named() -> str:
    """The networks as they are known."""
    known = networks(named_networks.FILE)
    rows = []
    for name, entry in known.items():
        opened, plan, rtl = entry["opened"], entry.get("plan"), entry.get("rtl")
        rows.append((
            named_networks.NETWORKS[name].title,
            of(opened["mismatches"], opened["values_compared"]),
            *((plan["board"], f"{plan['macs']:,}", plan["multipliers"],
               f"{plan['cycles_per_frame']:,}", plan["brams"]) if plan else [""] * 5),
            of(rtl["mismatches"], rtl["values_compared"]) if rtl else "",
            both(rtl["latency_cycles"], rtl["predicted_latency_cycles"]) if rtl else ""))
    return table(("network", "golden ≠ PyTorch", "board", "MACs", "multipliers", "cycles a frame",
                  "block RAMs", "RTL ≠ golden", "latency, predicted"), rows,
                 *steps(known.values(), "opened", "plan", "rtl"))


def lanes() -> str:
    """LUTs of a product."""
    engines = common.read("lanes.json")["engines"].values()
    return table(("term × weight", "products a cycle", "LUT4s", "a product", "Fmax"),
                 [(row["description"], f"{row['products']:,}", f"{row['luts']:,}",
                   row["luts_per_product"], f"{row['fmax_mhz']} MHz") for row in engines],
                 *engines)


def paired() -> str:
    """Products of a DSP block by one, by two and without any."""
    result = common.read(pairs.FILE)
    return table(("map × weight bits", "products a block", "DSPs", "LUTs", "flip-flops",
                  "a product more", "Fmax"), pairs.rows(result), *result["engines"])


def kinds() -> str:
    """One network in eight kinds of few bits."""
    rows = common.read(few_bits.FILE)["rows"]
    base = next(row["pytorch_accuracy"] for row in rows if row["kind"] == "float")
    built = [row for row in rows if "hardware" in row]
    return table(("kind", "accuracy", "− float", "weight bits", "LUTs, predicted", "flip-flops",
                  "DSPs", "block RAMs", "Fmax", "frames/s"),
                 [(f"`{row['kind']}`", percent(row["accuracy"], 2),
                   percent(row["accuracy"] - base, 2).replace("-", "−"),
                   f"{row['weight_bits']:,}", both(hw["luts"], hw["predicted"]["luts"]),
                   f"{hw['ffs']:,}", hw["dsps"], hw["brams"], f"{hw['fmax_mhz']} MHz",
                   fps(hw, hw["cycles_per_frame"]))
                  for row, hw in ((row, row["hardware"]) for row in built)],
                 *built, *(row["hardware"] for row in built))


def trained() -> str:
    """What training made of the kinds of few bits."""
    rows = common.read(few_bits.FILE)["rows"]
    return table(("kind", "what it is", "integers", "PyTorch", "labels unlike PyTorch's",
                  "weight bits"),
                 [(f"`{row['kind']}`", row["title"], percent(row["accuracy"], 2),
                   percent(row["pytorch_accuracy"], 2), row["labels_unlike_pytorch"],
                   f"{row['weight_bits']:,}") for row in rows], *rows)


def smallest() -> str:
    """Two networks on iCEBreaker."""
    result = common.read(icebreaker.FILE)
    rows = []
    for name, entry in result["networks"].items():
        found, predicted, rtl = entry["measured"], entry["predicted"], entry["simulated"]
        energy = entry["cycles_per_frame"] * icebreaker.NANOJOULES_A_CYCLE / 1e3
        rows.append((name, f"{entry['macs']:,}", of(rtl["mismatches"], rtl["values_compared"]),
                     both(rtl["cycles_per_frame"], entry["cycles_per_frame"]),
                     both(found["luts"], predicted["luts"]), found["dsps"],
                     both(found["brams"], predicted["brams"]), f"{entry['fmax_mhz']} MHz",
                     f"{entry['frames_per_second']:,}", f"{energy:.1f}"))
    clock = next(iter(result["networks"].values()))["clock_mhz"]
    return table(("network", "MACs", "RTL ≠ golden", "cycles a frame, predicted",
                  "logic cells, predicted", "DSPs", "block RAMs, predicted", "Fmax",
                  f"frames/s at {clock:g} MHz", "µJ a frame, estimated"), rows, result)


def predictions() -> str:
    """Predicted against placed-and-routed cells of single layers."""
    rows, stamps = [], []
    for board in dict.fromkeys(case.board for case in layers.CASES):
        compared = resources.compare([case for case in layers.CASES if case.board == board])
        stamps += [one.measured for one in compared]
        for half, cells in resources.summary(compared).items():
            count = sum(one.case.half.value == half for one in compared)
            rows.append((board, half, count, *(
                f"{percent(cells[cell]['median'])}, {percent(cells[cell]['max'])}"
                if cell in cells else "" for cell in CELLS)))
    return table(("board", "half", "layers", "LUTs: median, most", "flip-flops", "DSPs",
                  "block RAMs"), rows, *stamps)


def links() -> str:
    """Predicted against placed-and-routed cells of the serial link."""
    result = common.read(link.FILE)
    rows = link.compare(result)
    return table(("board", "tensors", "half", "LUTs, predicted", "flip-flops, predicted",
                  "block RAMs, predicted"),
                 [(row["board"], row["case"], row["half"],
                   *(both(row[cell], row["predicted"][cell]) for cell in CELLS if cell != "dsps"))
                  for row in rows], result)


def nngen() -> str:
    """The same integers by NNgen."""
    result = common.read(beside_nngen.FILE)
    return table(*beside_nngen.lines(result), *beside_nngen.stamps(result))


def verilog() -> str:
    """What emission costs."""
    result = common.read("schedule.json")
    return table(("design", "multipliers", "seconds", "lines", "bytes"),
                 [(name, row["multipliers"], row["seconds"], f"{row['lines']:,}",
                   f"{row['bytes']:,}") for name, row in result["emission"].items()], result)


def emitted() -> str:
    """A model to Verilog, beside an earlier checkout."""
    result = common.read(emission.FILE)
    rows = [(emission.DESIGNS[name],
             *(f"{row['this'][key]:,}, {row['other'][key]:,}, "
               f"{row['this'][key] / row['other'][key]:.2f}" for key in emission.MEASURES))
            for name, row in result["designs"].items()]
    return table(("design: now, before, ratio", *emission.MEASURES.values()), rows, result)


def fuzz() -> str:
    """Damaged and hostile files."""
    result = common.read("fuzz.json")
    return table(("format", "mutants", "read", "refused in one line", "crashed",
                  "slowest", "most memory"),
                 [(f"`.{name}`", *(f"{row[key]:,}" for key in (
                     "mutants", "read", "refused", "failed")), f"{row['slowest_seconds']} s",
                   f"{row['peak_mib']} MiB") for name, row in result.items()], *result.values())


def mutants() -> str:
    """Faults in emitted Verilog that a test catches."""
    result = common.read("mutants.json")
    return table(("network", "frames", "faults", "caught"),
                 [(name, row["frames"], row["mutants"], percent(row["caught"]))
                  for name, row in result.items()], *result.values())


def foreign() -> str:
    """Files of others, by what runs them."""
    result = common.read(foreign_files.FILE)
    known = [one for one in result["files"].values() if "refused" not in one]
    rows = []
    for suite in sorted({one["framework"] for one in known}):
        some = [one for one in known if one["framework"] == suite]

        def total(key: str, some: Sequence[Mapping[str, Any]] = some) -> int:
            return sum(one[key] or 0 for one in some)

        rows.append((FRAMEWORKS[suite], len(some), sum(bool(one["values"]) for one in some),
                     of(total("differ"), total("values")),
                     f"{total('halves'):,}", f"{total('layers_differ'):,}",
                     of(total("rtl_differ"), total("rtl_values")),
                     of(sum(one["latency"][0] == one["latency"][1] for one in some), len(some))))
    return table(("framework", "files that compile", "run by it", "golden ≠ framework",
                  "halves, layer by layer", "others, layer by layer", "RTL ≠ golden",
                  "latency as predicted"), rows, result)


def foreign_refused() -> str:
    """Files of others that are refused."""
    result = common.read(foreign_files.FILE)
    return table(("file", "why"), [(f"`{name}`", one["refused"].replace("|", "\\|"))
                                   for name, one in result["files"].items() if "refused" in one],
                 result)


def rounding() -> str:
    """Golden model against ONNX Runtime."""
    result = common.read("onnx_rounding.json")
    ways = ("double", "single", "even")
    return table(("operator", "values", *(f"`{way}`: of 10⁶ differ, by at most" for way in ways)),
                 [(kind, f"{counts['even']['values']:,}", *(
                     f"{1e6 * counts[way]['different'] / counts[way]['values']:,.0f}, "
                     f"{counts[way]['largest']}" for way in ways))
                  for kind, counts in result["kinds"].items()], result)


def known_boards() -> str:
    """The boards, and what each of them has."""
    return grid(("`--board`", "family", "device", "LUTs", "DSPs", "block RAMs", "clock"),
                [(f"`{board.name}`", board.family.name, board.device,
                  f"{board.budget.luts:,}", board.budget.dsps, board.budget.brams,
                  f"{board.clock_mhz:g} MHz") for board in boards.boards() if board.family.tools])


def winograd_form() -> str:
    """ResNet8 without and with convolutions in Winograd's form."""
    known = networks(winograd.FILE)
    return table(winograd.HEADINGS, winograd.rows(known),
                 *steps(known.values(), "plan", "golden", "rtl"))


TABLES: dict[str, Callable[[], str]] = {
    "boards": known_boards, "cifar": cifar, "cifar-rtl": cifar_rtl, "emitted": emitted,
    "example-routed": example_routed, "few-bits-modes": few_bits_modes, "foreign": foreign,
    "foreign-refused": foreign_refused, "fuzz": fuzz, "importance": by_importance, "kinds": kinds,
    "lanes": lanes, "links": links, "mutants": mutants, "named": named, "nngen": nngen,
    "pairs": paired, "precision": precision, "predictions": predictions,
    "reference": reference.names,
    "rounding": rounding, "schedule": schedule, "smallest": smallest, "trained": trained,
    "verilog": verilog, "winograd": winograd_form, **network_tables.TABLES, **plan_tables.TABLES,
    **pruning_tables.TABLES, **search_tables.TABLES, **sparse_tables.TABLES,
}


def main() -> int:
    """Write or check; 1 where a page says something else than its source."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="render all tables anew")
    what.add_argument("--check", action="store_true", help="only tell which pages are stale")
    args = parser.parse_args()
    try:
        found = [*stale()]
    except PenjingError as error:
        print(error, file=sys.stderr)
        return 2
    for page, wanted in found:
        if args.write:
            page.write_text(wanted, encoding="utf-8")
        print(page.relative_to(ROOT))
    return int(args.check and bool(found))


if __name__ == "__main__":
    sys.exit(main())
