"""The tables of pruning studies, see `tables`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import common
import integer_pruning
import low_rank
import low_rank_hardware
import pruning
import sparse_hardware
import sparse_or_small
from page_tables import of, percent, table
from rows import of as studied

DEEP_FILE = "deep_compression.json"
RESNET20_FILE = "resnet20_pruning.json"
VGG16_FILE = "vgg16_small.json"
"""What `examples/vgg16/compress.py` stores."""
VGG16_FITTED = ("vgg16_rounded.json", "vgg16_untrained.json", "vgg16_fitted.json")
"""What `examples/vgg16/fit.py` stores."""
_NAMED = 4
"""From so many layers on, their names are not told."""


def sensitivity() -> str:
    """Accuracy with one layer alone pruned."""
    result = common.read(pruning.FILE)
    rows = studied(result, pruning.SENSITIVITY)
    return table(("layer", "by", "whole", *(percent(ratio, 0) for ratio in pruning.RATIOS)),
                 [(row["layer"], row["criterion"], percent(row["before"]),
                   *(percent(accuracy) for _, accuracy in row["points"])) for row in rows], *rows)


def study(name: str) -> Callable[[], str]:
    """Accuracy by the share of zeros, a row a series."""
    def made() -> str:
        rows = studied(common.read(pruning.FILE), name)
        lines = []
        for key, series in pruning.STUDIES[name].items():
            for epochs in series.shares:
                found = [row for row in rows if row["series"] == key and row["epochs"] == epochs]
                lines.append((series.title, epochs, ", ".join(
                    f"{percent(row['zeros'], 0)}: {percent(row['accuracy'])}" for row in found)))
        return table(("what", "epochs", "zeros: accuracy"), lines, *rows)

    return made


def low_rank_of(network: str, digits: int = 1) -> Callable[[], str]:
    """Accuracy by the work that is left, a row a method; percents have so many ``digits``."""
    def made() -> str:
        found = {key.removeprefix(f"{network}/"): row for key, row in common.read(
            low_rank.FILE)["rows"].items() if row["network"] == network}
        whole = found.pop("whole")
        rows = [("as it is", "", "", percent(whole["accuracy"], 2))]
        for method in low_rank.METHODS:
            if some := [row for row in found.values() if row["method"] == method.value]:
                rows.append((method.value, "all", 0, ", ".join(
                    f"÷ {row['macs_before'] / row['macs']:.1f}: "
                    f"{percent(row['accuracy'], digits)}" for row in some)))
        for key, (_, ratio, epochs) in low_rank.TENSORS[network].items():
            if (row := found.get(f"tensors/{key}")) is not None:
                layers = "all"
                if isinstance(ratio, dict):
                    gone = sorted(ratio.values())
                    layers = ", ".join(ratio) if len(ratio) < _NAMED else (
                        f"most, without {percent(gone[0])} to {percent(gone[-1])}")
                left = row["macs_before"] / row["macs"]
                rows.append((row["method"] + ("" if ratio else ", automatic"), layers, epochs,
                             f"÷ {left:.1f}: {percent(row['accuracy'], digits)}"))
        return table(("method", "layers", "epochs", "multiply-accumulates: accuracy"), rows, whole,
                     *found.values())

    return made


def low_rank_hardware_() -> str:
    """The Fashion-MNIST network whole and of low rank, predicted or routed."""
    result = common.read(low_rank_hardware.FILE)
    return table(low_rank_hardware.HEADINGS, low_rank_hardware.lines(result),
                 *result["rows"].values())


def sparse_or_small_() -> str:
    """A pruned network beside narrower ones."""
    rows: list[dict[str, Any]] = list(common.read(sparse_or_small.FILE)["rows"].values())
    return table(("network", "width", "weights", "not 0", "accuracy", "bits", "cycles", "LUTs"),
                 [(row["series"], f"{row['width']:g}", f"{row['weights']:,}",
                   f"{row['nonzeros']:,}", percent(row["accuracy"]), f"{row['weight_bits']:,}",
                   f"{row['cycles']:,}", f"{row['luts']:,}") for row in rows], *rows)


def integers() -> str:
    """Others' integer networks, pruned and shared without training."""
    rows: list[dict[str, Any]] = list(common.read(integer_pruning.FILE)["rows"].values())
    return table(("network", "what", "asked", "codes", "zeros", "accuracy", "bits", "cycles"),
                 [(integer_pruning.KINDS[row["network"]].title, row["series"],
                   percent(row["zeros_asked"], 0), row["codes"] or "", percent(row["zeros"]),
                   percent(row["accuracy"]), f"{row['weight_bits']:,}", f"{row['cycles']:,}")
                  for row in rows], *rows)


def vgg16() -> str:
    """The sparse VGG-16 with shared weights, pruned further or not."""
    rows = common.read(VGG16_FILE)["networks"]
    lines: list[tuple[str, ...]] = [
        ("98 % zeros, float", "", "", "", percent(rows[0]["before"], 2)),
        *((row["network"], f"{row['nonzeros']:,}", ", ".join(map(str, row["codes"])), "",
           percent(row["accuracy"], 2)) for row in rows)]
    every = [common.read(name) for name in VGG16_FITTED]
    for fitted in every:
        codes = [one["codes"] for one in fitted["settings"]["left"].values()]
        lines += [*((f"{fitted['network']}, {step}, float", "", "", "", percent(right, 2))
                    for step, right in fitted["steps"].items()),
                  (fitted["network"], f"{fitted['nonzeros']:,}", f"{codes[0]}, {codes[-1]}",
                   f"{fitted['float_bits'] / fitted['stored_bits']:.0f}",
                   percent(fitted["accuracy"], 2))]
    return table(("network", "not 0", "values a layer, up to the third pool and behind",
                  "times smaller", "accuracy of 10,000"), lines, *rows, *every)


def resnet20() -> str:
    """ResNet-20, whole and pruned."""
    rows = studied(common.read(RESNET20_FILE), "networks")
    return table(("network", "not 0", "epochs of images", "float", "8 bits"), [
        (row["network"], percent(row["density"]),
         f"{row['epochs']} of {row['images']:,}" if "images" in row else "",
         percent(row["float"], 2), percent(row["accuracy"], 2)) for row in rows], *rows)


def resnet20_recipes() -> str:
    """How it was trained, and what was tried beside that."""
    rows = studied(common.read(RESNET20_FILE), "recipes")
    return table(("zeros come", "learning rate", "batch", "weight of maps", "images blended",
                  "accuracy of images held out", "loss against the dense network's answers"), [
        (row["recipe"].partition(",")[0] + ", allotted" * row.get("allotted", False),
         f"{row['rate']:g}",
         row.get("batch", 64), f"{row.get('maps', 0):g}",
         percent(row.get("blended", 0)), percent(row["accuracy"], 2),
         f"{row['divergence']:.2f}") for row in rows], *rows)


def resnet20_hardware() -> str:
    """The same, planned and simulated; what is placed and routed has more columns."""
    result = common.read(RESNET20_FILE)
    rows, routed = studied(result, "hardware"), studied(result, "routed")
    headings: tuple[str, ...] = ("network", "weight bits", "multipliers", "cycles",
                                 "LUTs, predicted", "block RAMs, predicted", "RTL ≠ golden")
    lines: dict[str, tuple[object, ...]] = {row["network"]: (
        row["network"], f"{row['weight_bits']:,}", row["multipliers"], f"{row['cycles']:,}",
        f"{row['luts']:,}", row["brams"], of(row["mismatches"], row["values_compared"]))
        for row in rows}
    if routed:
        headings += ("LUTs", "block RAMs", "Fmax, MHz", "frames/s")
        made = {row["network"]: (f"{row['luts']:,}", row["brams"], f"{row['fmax_mhz']:.1f}",
                                 f"{row['fmax_mhz'] * 1e6 / row['cycles']:,.0f}")
                for row in routed}
        lines = {name: (*line, *made.get(name, ("",) * 4)) for name, line in lines.items()}
    return table(headings, lines.values(), *rows, *routed)


def hardware() -> str:
    """The Fashion-MNIST network in each form, predicted or routed."""
    result = common.read(sparse_hardware.FILE)
    return table(sparse_hardware.HEADINGS, sparse_hardware.lines(result),
                 *result["rows"].values())


def deep() -> str:
    """LeNets from three seeds, and the image that hardware loads."""
    found = common.read(DEEP_FILE)
    lines = []
    for name, row in found.items():
        lines += [(name, seed["seed"], f"{seed['nonzeros']:,}", percent(seed["accuracy_before"], 2),
                   percent(seed["accuracy_after"], 2), f"{seed['image_bytes']:,}",
                   f"{seed['size_ratio']:.1f}", "") for seed in row["seeds"]]
        lines.append((name, "mean", "", percent(row["accuracy_before"], 2),
                      percent(row["accuracy_after"], 2), "", f"{row['size_ratio']:.1f}",
                      f"{row['rtl_mismatches']} of {row['rtl']['values_compared']}"))
    return table(("network", "seed", "not 0", "float", "integers, compressed", "bytes of the image",
                  "times smaller", "RTL ≠ golden"), lines, *found.values())


TABLES: dict[str, Callable[[], str]] = {
    "low-rank-fashion": low_rank_of("fashion"), "low-rank-vgg16": low_rank_of("vgg16", 2),
    "low-rank-hardware": low_rank_hardware_,
    "pruning-deep": deep,
    "pruning-vgg16": vgg16, "pruning-sensitivity": sensitivity,
    **{f"pruning-{name}": study(name) for name in pruning.STUDIES},
    "pruning-resnet20": resnet20, "pruning-resnet20-recipes": resnet20_recipes,
    "pruning-resnet20-hardware": resnet20_hardware,
    "pruning-hardware": hardware,
    "pruning-small": sparse_or_small_, "pruning-integers": integers}
