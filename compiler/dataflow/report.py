"""Plans and measurements as tables and JSON. It repeats numbers; it computes none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .. import ir
from ..cost import Resources
from ..ir import Network
from .kinds import Additive, Weighted
from .plan import LayerPlan, Plan
from .plan_file import to_json
from .site import Site, sites

__all__ = ["Removed", "Table", "WeightFacts", "at_most", "layer_table", "plan_json", "plan_table",
           "removed_table", "table_of", "weight_facts", "weight_table"]


WORK = ("multipliers", "xors", "additions")
"""What engines do in a cycle, see `Kind.work`."""


@dataclass(frozen=True)
class Table:
    """A table as text: every row has one cell for each column.

    The first columns are ``text``, the others numbers.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: int = 1


@dataclass(frozen=True)
class WeightFacts:
    """The weights of a layer: a ``count`` of so many ``bits`` each, in hardware ``memory_bits`` in
    all.

    There are so many different ``values``; ``nonzeros`` of all are not 0.
    """

    count: int
    bits: int
    encoding: str
    values: int
    nonzeros: int
    memory_bits: int

    @property
    def density(self) -> float:
        """The part that is not 0."""
        return self.nonzeros / self.count


def weight_facts(site: Site, planned: LayerPlan) -> WeightFacts | None:
    """What is known of the weights of the layer at ``site``; None where it has none."""
    layer, kind = site.layer, planned.kind
    if not isinstance(layer, ir.MultiplyAccumulate):
        return None
    assert isinstance(kind, Weighted)
    given = layer.weights
    return WeightFacts(given.values.size, given.bits, given.encoding.name, len(given.codebook),
                       given.nonzeros, kind.all_weight_bits(site))


@dataclass(frozen=True)
class Removed:
    """A ``layer`` that has lost some ``channels``, ``of`` so many."""

    layer: str
    channels: int
    of: int


def cell(value: object) -> str:
    """``value`` as a person reads it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def at_most(cycles: int | None, exact: bool) -> str:
    """``cycles`` as a person reads them, of which there are fewer where they are not ``exact``."""
    return cell(cycles) if exact or cycles is None else f"at most {cell(cycles)}"


def table_of(title: str, columns: tuple[str, ...], rows: Iterable[Iterable[object]],
             text: int = 1) -> Table:
    """A table of values of any kind."""
    return Table(title, columns, tuple(tuple(cell(value) for value in row) for row in rows), text)


def plan_json(plan: Plan, link: Resources | None, network: Network,
              removed: Iterable[Removed] = ()) -> dict[str, Any]:
    """What ``penjing compile --json`` prints of the ``plan`` of a ``network``, of the board's
    serial ``link``, and of what was ``removed`` before."""
    where = sites(network)
    return {
        "board": plan.board,
        "clock_mhz": plan.clock_mhz,
        "cycles_per_frame": plan.cycles_per_frame,
        "latency_cycles": plan.latency_cycles,
        "exact": plan.exact,
        "frames_per_second": plan.frames_per_second,
        "macs": plan.macs,
        **_work_json(plan),
        "utilization": plan.utilization,
        "resources": to_json(plan.resources),
        "link": to_json(link),
        "removed": [asdict(one) for one in removed],
        "layers": [_layer_json(layer, weight_facts(where[layer.name], layer))
                   for layer in plan.layers],
    }


def _layer_json(layer: LayerPlan, weights: WeightFacts | None) -> dict[str, Any]:
    kind = to_json(layer.kind)
    return {
        "name": layer.name, "kind": layer.layer, **kind, "cycles": layer.cycles,
        "exact": layer.kind.exact,
        "macs": layer.macs, "fold": to_json(layer.fold),
        "queues": to_json(layer.queues), "memory_bits": layer.memory_bits,
        "resources": to_json(layer.resources), **_work_json(layer),
        "encoding": weights and weights.encoding, "nonzeros": weights and weights.nonzeros,
        "density": weights and weights.density, "weight_bits": weights and weights.memory_bits}


def _work_json(one: LayerPlan | Plan) -> dict[str, int]:
    """What is done in a cycle, zeros too, so that every reader finds it."""
    return {what: one.work(what) for what in WORK}


def layer_table(plan: Plan) -> Table:
    """One row a layer."""
    return table_of("Layers", ("layer", "kind", "MACs", "PE×SIMD", "multipliers", "cycles",
                               "memory bits", "LUTs", "FFs", "DSPs", "BRAMs"),
                    (_layer_row(layer) for layer in plan.layers))


def _layer_row(layer: LayerPlan) -> tuple[object, ...]:
    fold = f"{layer.fold.pe}×{layer.fold.simd}" if layer.fold else None
    cells = layer.resources
    return (layer.name, layer.layer, layer.macs, fold, layer.work("multipliers"),
            at_most(layer.cycles, layer.kind.exact), layer.memory_bits, cells.luts, cells.ffs,
            cells.dsps, cells.brams)


def weight_table(plan: Plan, network: Network) -> Table:
    """One row for each layer of the ``network`` that has weights."""
    where = sites(network)
    facts = ((layer, weight_facts(where[layer.name], layer)) for layer in plan.layers)
    return table_of("Weights", ("layer", "encoding", "weights", "not 0", "density", "bits in all"),
                    ((layer.name, _encoding(layer, one), one.count, one.nonzeros, one.density,
                      one.memory_bits) for layer, one in facts if one), text=2)


def _encoding(layer: LayerPlan, weights: WeightFacts) -> str:
    """That of the ``weights``, and whether inputs of equal codes are added first."""
    by_sums = isinstance(layer.kind, Additive) and weights.encoding != ir.Sums().name
    return f"{weights.encoding}, by sums" if by_sums else weights.encoding


def removed_table(removed: Iterable[Removed]) -> Table:
    """One row a layer that has lost channels."""
    return table_of("Channels not needed", ("layer", "removed", "of"),
                    ((one.layer, one.channels, one.of) for one in removed))


def plan_table(plan: Plan, link: Resources | None, title: str) -> Table:
    """The plan as a whole, and what the board's serial ``link`` adds."""
    cells = plan.resources
    return table_of(title, ("", ""), (
        ("board", plan.board),
        ("clock (MHz)", plan.clock_mhz),
        ("cycles per frame", at_most(plan.cycles_per_frame, plan.exact)),
        ("latency (cycles)", at_most(plan.latency_cycles, plan.exact)),
        ("frames per second" + (", at least" if not plan.exact else ""), plan.frames_per_second),
        ("MACs per frame", plan.macs),
        ("multipliers", plan.multipliers),
        ("products of signs a cycle", plan.work("xors") or None),
        ("terms added or subtracted a cycle", plan.work("additions") or None),
        ("of their time at work", f"{plan.utilization:.1%}"),
        ("LUTs, FFs", f"{cells.luts:,}, {cells.ffs:,} (predicted)"),
        ("DSPs, BRAMs", f"{cells.dsps:,}, {cells.brams:,} (predicted)"),
        ("the board's link", f"{link.luts:,} LUTs, {link.ffs:,} FFs, {link.brams:,} BRAMs more "
                             "(predicted)" if link else None),
    ))
