"""What the sparse engines were to reach beside what they do: a table of docs/sparse.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import common
from page_tables import grid, of, percent

__all__ = ["goals", "spread"]

WIDE = ("conv64", "conv128", "stride2")
"""Layers of `sparse_engines` whose maps are at least 8 wide."""
NETWORKS = {"lenet5": "LeNet-5", "fashion": "Fashion-MNIST"}
Named = Iterable[tuple[str, float]]


def goals() -> str:
    """Each goal; all numbers are those of the other tables."""
    return grid(("goal", "asked", "measured"), [*_counted(), *_placed(), *_whole()])


def _counted() -> list[tuple[str, str, str]]:
    """Cycles and bits of the engines."""
    sparse = common.read("sparse_engines.json")
    ideal = [(f"`{row['encoding']}` at {row['zeros']} %", row["cycles"] / row["ideal_cycles"],
              row["layer"] in WIDE) for row in sparse["layers"]]
    pruned = [(f"{NETWORKS[row['network']]}'s {row['layer']}", row["dense"], row["sparse"])
              for row in sparse["networks"]]
    memories = [*((row["layer"], row) for row in sparse["layers"]),
                *((name, row) for name, _, row in pruned)]
    return [
        ("cycles by ideal ones, maps at least 8 wide", "≤ 1.05",
         spread(((name, share) for name, share, wide in ideal if wide), lambda x: x <= 1.05)),
        ("cycles by ideal ones, elsewhere", "≤ 1.15",
         spread(((name, share) for name, share, wide in ideal if not wide), lambda x: x <= 1.15)),
        ("cycles of `2:4` by dense ones", "0.5", spread(
            ((one["description"], one["engines"]["2:4"]["cycles"]
              / one["engines"]["dense"]["cycles"])
             for one in common.read("n_of_m.json")["layers"].values()), lambda x: x == 0.5)),
        ("cycles of `columns` by ideal ones, queues of 8", "≤ 1.2", spread(
            ((f"{row['layer']} in {row['multipliers']} elements",
              row["cycles"] / row["ideal_cycles"])
             for row in common.read("eie.json")["layers"]), lambda x: x <= 1.2)),
        ("bits of memories by `weight_bits`", "0.98 to 1.02", spread(
            ((name, row["memory_bits"] / row["weight_bits"]) for name, row in memories),
            lambda x: abs(x - 1) <= 0.02)),
        ("pruned layers, cycles by dense ones", "≤ 0.167", spread(
            ((name, one["cycles"] / dense["cycles"]) for name, dense, one in pruned),
            lambda x: x <= 1 / 6)),
        ("pruned layers, bits by dense ones", "≤ 0.333", spread(
            ((name, one["weight_bits"] / dense["weight_bits"]) for name, dense, one in pruned),
            lambda x: x <= 1 / 3))]


def _placed() -> list[tuple[str, str, str]]:
    """What place-and-route told."""
    constants = common.read("constant_mlp.json")["networks"]
    engines = [*((row["engine"], row) for row in common.read("sparse_engines.json")["routed"]),
               *common.read("n_of_m.json")["routed"].items(),
               *common.read("equal_codes.json")["engines"].items(),
               *common.read("dense_engines.json")["engines"].items(),
               ("constants, 90 % zeros", constants["90"]["parts"]["whole"]["penjing"]["routed"]
                ["100"]), ("loader alone", common.read("loading.json")["routed"])]
    both = {zeros: one["parts"]["whole"] for zeros, one in constants.items()}
    return [
        ("Fmax of engines in MHz", "≥ 100", spread(
            ((name, row["fmax_mhz"]) for name, row in engines), lambda x: x >= 100, ".1f")),
        ("LUTs of constants by alkaid's", "≤ 1", spread(
            ((f"{zeros} % zeros", sides["penjing"]["luts"] / sides["alkaid"]["luts"])
             for zeros, sides in both.items() if len(sides) > 1), lambda x: x <= 1, ".2f"))]


def _whole() -> list[tuple[str, str, str]]:
    """Whole networks."""
    vgg16, network = common.read("sparse_vgg16.json"), common.read("vgg16_network.json")
    fitted, loading = vgg16["fitted"], common.read("loading.json")
    return [
        ("VGG-16: cycles a frame", "≤ 200,000", f"{vgg16['rtl']['cycles_per_frame']:,}"),
        ("VGG-16: accuracy", "≥ 92.3 %", percent(network["accuracy"], 2)),
        ("VGG-16: block RAMs", "≤ 208", f"{vgg16['plan']['brams']}"),
        ("VGG-16 in one chip: block RAMs", "≤ 208", f"{fitted['routed']['brams']}"),
        ("VGG-16 in one chip: accuracy", "≥ 92.3 %",
         percent(common.read("vgg16_fitted.json")["accuracy"], 2)),
        ("VGG-16 in one chip: Fmax in MHz", "≥ 80", f"{fitted['routed']['fmax_mhz']:.1f}"),
        ("symbols a cycle of the decoder", "≥ 1", f"{loading['decoder']['symbols_per_cycle']:g}"),
        *((f"damaged images of `{name}` that ran", "0", of(one["ran"], one["images"]))
          for name, one in loading["damaged"].items())]


def spread(named: Named, meets: Callable[[float], bool], digits: str = ".3f") -> str:
    """From the least to the most of those that meet a goal, and each of the others by name."""
    every = [(name, number, f"{number:{digits}}") for name, number in named]
    good = sorted((number, text) for _, number, text in every if meets(number))
    ends = dict.fromkeys(text for _, text in good[:1] + good[-1:])
    return "; ".join([*([" to ".join(ends)] if ends else []),
                      *(f"{name}: {text}" for name, number, text in every if not meets(number))])
