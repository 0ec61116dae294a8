"""The tables of docs/sparse.md, see `tables`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import common
from page_tables import both, of, percent, table
from sparse_goals import goals

LAYERS = {"conv64": "3×3, 64→64 on 16×16", "conv128": "3×3, 128→128 on 8×8",
          "conv256": "3×3, 256→256 on 4×4", "stride2": "3×3, stride 2, 64→128 on 16×16",
          "dense": "dense, 784→300"}
"""The layers of `sparse_engines`."""
NETWORKS = {"lenet5": "LeNet-5", "fashion": "Fashion-MNIST CNN"}
"""The networks of `sparse_engines`."""
ROUTED = ("engine", "multipliers", "cycles", "LUTs, predicted", "flip-flops, predicted", "DSPs",
          "block RAMs, predicted", "Fmax")
"""What is told of engines that are placed and routed."""
CLOCKS = ("100", "80")
"""What the router aimed at for constants."""


def engines() -> str:
    """Cycles of layers with zeros, beside the fewest possible."""
    result = common.read("sparse_engines.json")
    return table(("layer", "zeros", "encoding", "multipliers", "cycles", "of ideal", "bits",
                  "RTL ≠ golden"),
                 [(LAYERS[row["layer"]], f"{row['zeros']} %", f"`{row['encoding']}`",
                   row["multipliers"], f"{row['cycles']:,}",
                   f"{row['cycles'] / row['ideal_cycles']:.3f}", f"{row['weight_bits']:,}",
                   row["mismatches"]) for row in result["layers"]], result)


def beside_dense() -> str:
    """Layers of pruned networks, beside the dense engine of as many multipliers."""
    result = common.read("sparse_engines.json")
    rows = []
    for row in result["networks"]:
        sparse, dense = row["sparse"], row["dense"]
        rows.append((NETWORKS[row["network"]], row["layer"], sparse["multipliers"],
                     f"{sparse['cycles']:,}", f"{dense['cycles']:,}",
                     f"{dense['cycles'] / sparse['cycles']:.1f}", f"{sparse['weight_bits']:,}",
                     f"{dense['weight_bits'] / sparse['weight_bits']:.1f}"))
    return table(("network", "layer", "multipliers", "cycles", "dense", "times", "bits",
                  "times fewer"), rows, result)


def routed() -> str:
    """One layer, placed and routed in several ways."""
    result = common.read("sparse_engines.json")
    return table(ROUTED, [(row["engine"], row["multipliers"], f"{row['predicted_cycles']:,}",
                           *_cells(row)) for row in result["routed"]], result)


def n_of_m() -> str:
    """Layers of which n of m weights are stored, at equal multipliers."""
    result = common.read("n_of_m.json")
    rows = []
    for layer in result["layers"].values():
        dense = layer["engines"]["dense"]["cycles"]
        rows += [(layer["description"], stored, one["multipliers"], f"{one['cycles']:,}",
                  f"{one['cycles'] / dense:.3g}", f"{one['weight_bits']:,}", one["mismatches"])
                 for stored, one in layer["engines"].items()]
    return table(("layer", "weights", "multipliers", "cycles", "of dense", "bits", "RTL ≠ golden"),
                 rows, *result["layers"].values())


def equal_codes() -> str:
    """A layer of few values, by tables and multipliers or by sums; some are not routed."""
    entries = common.read("equal_codes.json")["engines"].values()
    rows = []
    for row in entries:
        predicted = row["predicted"]
        cells = [both(row[cell], predicted[cell]) if cell in row else f"–, {predicted[cell]:,}"
                 for cell in ("luts", "ffs", "brams")]
        rows.append((row["codes"], row["engine"], len(row.get("summands", ())) or "",
                     f"{row['predicted_cycles']:,}", *cells[:2], predicted["dsps"], cells[2],
                     f"{row['fmax_mhz']} MHz" if "fmax_mhz" in row else "",
                     row.get("mismatches", "")))
    return table(("codes", "engine", "sums of an output", "cycles", "LUTs, predicted",
                  "flip-flops, predicted", "DSPs", "block RAMs, predicted", "Fmax",
                  "RTL ≠ golden"), rows, *entries)


def vgg16() -> str:
    """The sparse VGG-16: accuracy, cycles, and what it lacks."""
    result, network = common.read("sparse_vgg16.json"), common.read("vgg16_network.json")
    plan, rtl = result["plan"], result["rtl"]
    rows = [("accuracy, float", percent(network["float_accuracy"], 2)),
            *((f"accuracy, 8 bits, {one['codes']} codes a layer",
               f"{percent(one['test'], 2)} of {network['images']['test']:,}")
              for one in network["by_codes"]),
            ("weights that are not 0", f"{plan['nonzeros']:,}"),
            ("multipliers", plan["multipliers"]),
            ("cycles a frame, predicted", both(rtl["cycles_per_frame"], plan["cycles_per_frame"])),
            ("as few as can be with 156", f"{plan['ideal_cycles']:,}"),
            ("multiply-accumulates of the dense network, a multiplier and cycle",
             f"{plan['macs'] / plan['multipliers'] / plan['cycles_per_frame']:.2f}"),
            (f"RTL ≠ golden, {rtl['images']} images, {len(rtl['stalls'])} patterns",
             of(rtl["mismatches"], rtl["values_compared"])),
            ("bits of weights", f"{plan['weight_bits']:,}"),
            ("block RAMs, predicted", f"{plan['brams']} of {plan['device_brams']}")]
    return table(("VGG-16, CIFAR-10, 98 % zeros", ""), rows, plan, rtl, network)


def vgg16_fitted() -> str:
    """The VGG-16 that fits the board: accuracy, cycles, cells."""
    result, network = common.read("sparse_vgg16.json")["fitted"], common.read("vgg16_fitted.json")
    plan, rtl, place = result["plan"], result["rtl"], result.get("routed")
    rows = [("accuracy, 8 bits", f"{percent(network['accuracy'], 2)} of {network['images']:,}"),
            ("weights that are not 0", f"{plan['nonzeros']:,}"),
            ("bits of weights", f"{plan['weight_bits']:,}"),
            ("times smaller than 32-bit floats",
             f"{network['weights'] * 32 / plan['weight_bits']:.0f}"),
            ("multipliers", plan["multipliers"]),
            ("cycles a frame, predicted", both(rtl["cycles_per_frame"], plan["cycles_per_frame"])),
            ("multiply-accumulates of the dense network, a multiplier and cycle",
             f"{network['macs'] / plan['multipliers'] / plan['cycles_per_frame']:.2f}"),
            (f"RTL ≠ golden, {rtl['images']} images, {len(rtl['stalls'])} patterns",
             of(rtl["mismatches"], rtl["values_compared"]))]
    if place:
        predicted = place["predicted"]
        rows += [(f"{what}, predicted", both(place[cell], predicted[cell])) for what, cell in (
            ("LUTs", "luts"), ("flip-flops", "ffs"), ("DSPs", "dsps"), ("block RAMs", "brams"))]
        clock = min(plan["clock_mhz"], place["fmax_mhz"])
        rows += [("Fmax", f"{place['fmax_mhz']:.1f} MHz"),
                 (f"frames a second at {clock:.1f} MHz",
                  f"{clock * 1e6 / plan['cycles_per_frame']:.0f}")]
    else:
        rows.append(("block RAMs, predicted", f"{plan['brams']} of {plan['device_brams']}"))
    return table(("VGG-16, CIFAR-10, on ULX3S-85F", ""), rows, plan, rtl, network,
                 *([place] if place else []))


def vgg16_layers(fitted: bool) -> str:
    """The layers of the sparse VGG-16, or of the one that fits the board."""
    result = common.read("sparse_vgg16.json")
    plan = (result["fitted"] if fitted else result)["plan"]
    return table(("layer", "encoding", "not 0", "of", "multipliers", "cycles", "bits",
                  "block RAMs"),
                 [(row["layer"], f"`{row['encoding']}`", f"{row['nonzeros']:,}",
                   f"{row['weights']:,}", row["multipliers"], f"{row['cycles']:,}",
                   f"{row['weight_bits']:,}", row["brams"])
                  for row in plan["layers"] if "encoding" in row], plan)


def broadcast() -> str:
    """The engine that skips zeros of activations too."""
    result = common.read("eie.json")
    return table(("weights", "layer", "elements", "ideal cycles", "broadcasts",
                  "cycles, queues of 8", "of ideal", "of the larger", "of ideal, rows interleaved"),
                 [(row["network"], row["layer"], row["multipliers"], row["ideal_cycles"],
                   row["nonzero_activations"], row["cycles"],
                   f"{row['cycles'] / row['ideal_cycles']:.3f}",
                   f"{row['cycles'] / max(row['ideal_cycles'], row['nonzero_activations']):.3f}",
                   f"{row['interleaved_cycles'] / row['ideal_cycles']:.3f}")
                  for row in result["layers"]], result)


def n_of_m_routed() -> str:
    """A small layer of which n of m weights are stored, placed and routed."""
    rows = common.read("n_of_m.json")["routed"]
    return table(ROUTED, [(f"`{row['stored']}`" if row["stored"] != "dense" else "dense",
                           row["multipliers"], f"{row['cycles']:,}", *_cells(row))
                          for row in rows.values()], *rows.values())


def dense_routed() -> str:
    """One dense layer, placed and routed in several ways."""
    result = common.read("dense_engines.json")["engines"]
    (digits,) = (row["cycles"] for row in common.read("eie.json")["layers"]
                 if (row["network"], row["multipliers"]) == ("random", 8))
    return table((*ROUTED, "on"), [
        (f"`{name}`" if name == row["encoding"] else name, row["multipliers"],
         f"{row['cycles']:,}" if "cycles" in row else f"{digits:.0f} on digits, at most "
         f"{row['most_cycles']:,}", *_cells(row), row["board"]) for name, row in result.items()],
        *result.values())


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Cells found and predicted, and Fmax."""
    told = row["predicted"]
    return (both(row["luts"], told["luts"]), both(row["ffs"], told["ffs"]), str(row["dsps"]),
            both(row["brams"], told["brams"]), f"{row['fmax_mhz']} MHz")


def constants() -> str:
    """A perceptron of constants, by two tools."""
    rows, stamps = [], []
    for zeros, network in common.read("constant_mlp.json")["networks"].items():
        for tool, one in network["parts"]["whole"].items():
            rows.append((f"{zeros} %", tool, f"{one['luts']:,}", f"{one['ffs']:,}",
                         one["latency_cycles"],
                         *(_at(one.get("routed", {}).get(clock)) for clock in CLOCKS)))
            stamps.append(one)
    return table(("zeros", "tool", "LUTs", "flip-flops", "latency",
                  *(f"LUTs and Fmax, routed for {clock} MHz" for clock in CLOCKS)), rows, *stamps)


def _at(routed: dict[str, Any] | None) -> str:
    """What place-and-route made of it."""
    if routed is None:
        return ""
    if "fmax_mhz" not in routed:
        return f"no end within {routed['given_up_minutes']:g} minutes"
    return f"{routed['luts']:,}, {routed['fmax_mhz']} MHz"


def loading() -> str:
    """What an image of weights takes."""
    result = common.read("loading.json")
    pairs = result["pair"], result["sparse_pair"]
    damaged, alone = result["damaged"], [result["routed"]] if "routed" in result else []
    return table(("LeNet-300-100, 10 % not 0, 16 values", ""), [
        ("float32", f"{result['float_bytes']:,} bytes"),
        ("symbols before Huffman's code", f"{result['raw_bytes']:,} bytes"),
        ("image", f"{result['image_bytes']:,} bytes"),
        ("bits a weight", result["bits_per_weight"]),
        ("cycles to load", f"{result['load_cycles']:,}"),
        ("symbols a cycle of the decoder", result["decoder"]["symbols_per_cycle"]),
        *(row for pair in pairs for row in _of_pair(pair)),
        *((f"damaged images of `{name}` that ran", of(one["ran"], one["images"]))
          for name, one in damaged.items()),
        *((f"loader alone on ULX3S-85F: {what}", one[cell]) for one in alone for what, cell in (
            ("LUTs", "luts"), ("flip-flops", "ffs"), ("block RAMs", "brams"),
            ("Fmax in MHz", "fmax_mhz")))], result, *pairs, *damaged.values(), *alone)


def _of_pair(pair: dict[str, Any]) -> list[tuple[str, object]]:
    """Two networks in one accelerator."""
    what = f"`{pair['encodings'][0]}`"
    return [
        *((f"{what}: image of `{name}`", f"{size:,} bytes") for name, size in zip(
            pair["networks"], pair["image_bytes"], strict=True)),
        (f"{what}: multipliers", pair["multipliers"]),
        (f"{what}: cycles a frame", f"{pair['cycles_per_frame']:,}"),
        (f"{what}: frames of both, one after the other in one accelerator, that were compared",
         f"{pair['frames_compared']:,}"),
        (f"{what}: values that differ", pair["mismatches"])]


def reduced() -> str:
    """What networks lose that nobody reads."""
    rows, stamps = [], []
    for name, entry in common.read("reduced.json")["networks"].items():
        one = entry["reduced"]
        rows.append((name, *(both(one["before"][what], one["after"][what])
                             for what in ("weights", "macs", "cycles_per_frame", "brams",
                                          "luts"))))
        stamps.append(one)
    return table(("network", "weights", "MACs", "cycles", "block RAMs", "LUTs"), rows, *stamps)


TABLES: dict[str, Callable[[], str]] = {
    "sparse-broadcast": broadcast, "sparse-constants": constants, "sparse-dense": beside_dense,
    "sparse-dense-routed": dense_routed, "sparse-engines": engines,
    "sparse-equal-codes": equal_codes, "sparse-goals": goals,
    "sparse-loading": loading, "sparse-n-of-m": n_of_m,
    "sparse-n-of-m-routed": n_of_m_routed, "sparse-reduced": reduced, "sparse-routed": routed,
    "sparse-vgg16": vgg16, "sparse-vgg16-layers": partial(vgg16_layers, False),
    "sparse-vgg16-fitted": vgg16_fitted,
    "sparse-vgg16-fitted-layers": partial(vgg16_layers, True)}
