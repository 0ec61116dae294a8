"""Network and board budget to a plan: folds, memories, closed-form cycles, predicted resources."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from . import frames, ir, planning, resources, timing
from .bipolar import may_be_binary
from .geometry import Sliding, slices_per_position, sliding
from .ir import Network, PenjingError
from .plan import Fold, Plan, Resources
from .planning import QUEUE_LATENCY, Draft, folds_per_position, is_sliced

ROUTABLE = 0.75
"""The share of a board's logic that is spent on speed; beyond it, place-and-route may not end. A
network whose slowest plan needs more, or a goal that does, may have all of it."""
OUTPUT_LANE_COST = 4
"""Multipliers that an engine may waste to give its outputs in a lane less."""


@dataclass(frozen=True)
class Budget:
    """What the design may use.

    ``multipliers`` bounds all multipliers together; those beyond ``resources.dsps`` are built from
    logic. ``family`` selects the resource model. ``link`` tells what cells of the ``resources`` a
    plan leaves to the board's serial link, whose ports are the plan's; None where there is none.
    """

    family: resources.Family
    resources: Resources
    multipliers: int
    link: Callable[[Plan], Resources] | None = None


@dataclass(frozen=True)
class Goal:
    """What to optimize for.

    ``cycles`` asks for the least hardware that takes a frame in at most so many cycles; without it,
    the budget is spent on speed. ``folds`` fixes layers by hand.
    """

    cycles: int | None = None
    folds: Mapping[str, Fold] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A plan without its latency, and what it takes to tell when frames end."""

    plan: Plan
    nodes: list[timing.Node]
    rooms: list[timing.Depths]
    i_beats: int

    def frame_ends(self, count: int) -> list[int]:
        """Cycles from the first input beat taken to the last output beat of each frame."""
        return frames.frame_ends(self.nodes, self.rooms, self.i_beats, count)

    def timed(self) -> Plan:
        """The plan with its latency."""
        return replace(self.plan, latency_cycles=self.frame_ends(1)[0])


def check_fold(network: Network, layer: ir.Layer, fold: Fold) -> None:
    """Refuse a fold that exceeds ``layer``'s dimensions."""
    shape = sliding(network, layer)
    outputs = network.type_of(layer.name).shape[2]
    limits = [(1, outputs), (1, shape.kernel[0]), (1, shape.run)]
    if isinstance(layer, ir.Depthwise):
        # An engine takes all outputs of a channel at once, and one tap of it.
        multiple = outputs // shape.size[2]
        limits = [(multiple, multiple), (1, 1), (1, shape.size[2])]
    for what, value, (least, most) in zip(("pe", "rows", "lanes"),
                                          (fold.pe, fold.rows, fold.lanes), limits, strict=True):
        if not least <= value <= most:
            wanted = f"from {least} to {most}" if least < most else str(least)
            raise PenjingError(f"layer {layer.name}: fold {what} must be {wanted}, not {value}")


def fold_of_simd(network: Network, layer: ir.Layer, pe: int, simd: int) -> Fold:
    """The fold of ``pe`` with the best use of at most ``simd`` inputs a cycle.

    Signs are best counted, so it leaves no lane to spare where that makes the layer binary.
    """
    shape = sliding(network, layer)
    if isinstance(layer, ir.Depthwise):
        fold = Fold(pe, 1, simd)
        check_fold(network, layer, fold)
        return fold
    if not 1 <= simd <= shape.kernel[0] * shape.run:
        raise PenjingError(f"layer {layer.name}: simd must be from 1 to "
                           f"{shape.kernel[0] * shape.run}, not {simd}")
    binary = may_be_binary(network, layer)
    candidates = [Fold(pe, rows, _lanes(shape, simd // rows, binary=binary))
                  for rows in range(1, min(simd, shape.kernel[0]) + 1)
                  if not binary or shape.kernel[0] % rows == 0]
    best = min(candidates, key=lambda f: (
        folds_per_position(1, shape.kernel[0], shape.run, f)[1], f.rows))
    check_fold(network, layer, best)
    return best


def _lanes(shape: Sliding, most: int, *, binary: bool) -> int:
    """The ``most`` lanes, or fewer if there are not so many inputs, or they must divide these."""
    lanes = min(most, shape.run)
    while binary and shape.run % lanes:
        lanes -= 1
    return lanes


def mac_cycles(network: Network, layer: ir.Layer, fold: Fold) -> int:
    """Cycles that a multiply-accumulate layer's reads take: positions × groups × beats."""
    shape = sliding(network, layer)
    if is_sliced(layer, shape, fold):
        return shape.positions * math.prod(slices_per_position(shape, fold.lanes))
    groups, beats = folds_per_position(network.type_of(layer.name).shape[2], shape.kernel[0],
                                       shape.run, fold)
    return shape.positions * groups * beats


def smallest_fold(layer: ir.MultiplyAccumulate, context: planning.Context) -> Fold | None:
    """The cheapest fold within the target's cycles; None where even the largest is slower."""
    network, cycles = context.network, context.target
    shape = sliding(network, layer)
    outputs = network.type_of(layer.name).shape[2]
    sliced = _smallest_sliced(layer, shape, cycles)
    if isinstance(layer, ir.Depthwise):
        return sliced
    best: tuple[tuple[float, ...], Fold] | None = None
    if sliced is not None:
        best = (sliced.products,), sliced
    binary = may_be_binary(network, layer)
    for groups in _distinct_quotients(outputs):
        pe = -(-outputs // groups)
        for row_groups in _distinct_quotients(shape.kernel[0]):
            rows = -(-shape.kernel[0] // row_groups)
            steps = cycles // (shape.positions * groups * row_groups)
            if steps < 1 or (binary and shape.kernel[0] % rows):
                continue
            lanes = -(-shape.run // min(steps, shape.run))
            while binary and shape.run % lanes:
                lanes += 1
            fold = Fold(pe, rows, lanes)
            # Of equally many products: aligned reads first, then one copy of the buffer, then
            # fewer outputs to drain.
            logic = binary or planning.ternary_bits(layer, shape, fold) > 0
            cost = planning.logic_worth(layer, context, fold) if logic else fold.products
            key = (cost, planning.banks(shape, fold), rows, pe)
            if best is None or key < best[0]:
                best = key, fold
    return best[1] if best else None


def _smallest_sliced(layer: ir.Layer, shape: Sliding, cycles: int) -> Fold | None:
    """The cheapest fold that takes whole groups of channels with all their outputs."""
    channels = shape.size[2]
    terms, outputs = planning.channel_groups(layer, shape)
    if terms == channels and not isinstance(layer, ir.Depthwise):
        return None
    best: tuple[tuple[int, ...], Fold] | None = None
    for slices in _distinct_quotients(channels // terms):
        if shape.positions * shape.taps * slices > cycles:
            continue
        fold = Fold(outputs, 1, -(-channels // terms // slices) * terms)
        o_lanes = planning.output_lanes(fold.products // terms, shape.taps)
        # What comes after pays for each lane; a requantizer by scale takes four DSP blocks.
        key = (fold.products + OUTPUT_LANE_COST * o_lanes, fold.products)
        if best is None or key < best[0]:
            best = key, fold
    return best[1] if best else None


def _distinct_quotients(size: int) -> Iterator[int]:
    """Every value of ``ceil(size / n)``: other group counts only waste multipliers."""
    seen = set()
    for n in range(1, size + 1):
        groups = -(-size // n)
        if groups not in seen:
            seen.add(groups)
            yield groups


def schedule(network: Network, budget: Budget, goal: Goal | None = None, *, board: str = "generic",
             clock_mhz: float = 100.0) -> Plan:
    """Choose folds and memories for ``network``.

    Raises `PenjingError` that names the resource, what is needed and what there is, where nothing
    fits.
    """
    return search(network, budget, goal, board=board, clock_mhz=clock_mhz).timed()


def search(network: Network, budget: Budget, goal: Goal | None = None, *, board: str = "generic",
           clock_mhz: float = 100.0) -> Candidate:
    """What `schedule` finds.

    The slowest layer sets the pace, so the search is for the fewest cycles a frame at which the
    cheapest folds of all layers fit the budget together.
    """
    goal = goal or Goal()
    for layer in network.layers:
        if layer.name in goal.folds:
            check_fold(network, layer, goal.folds[layer.name])
    _check_graph(network)
    slowest = max(_slowest(network, goal), 1)
    if goal.cycles is not None:
        drafts = _drafts(network, budget, goal, goal.cycles)
        if drafts is None:
            raise PenjingError(
                f"network {network.name}: no fold reaches {goal.cycles} cycles a frame; ask for "
                "fewer frames a second or a faster clock")
        found = _finish(network, budget, drafts, board, clock_mhz)
        _require_fit(network, budget, found.plan)
        return found
    # Folds given by hand set a pace that no other layer, nor the input, need surpass.
    low = max((mac_cycles(network, layer, goal.folds[layer.name]) for layer in network.layers
               if layer.name in goal.folds), default=1)
    high = slowest
    best = _attempt(network, budget, goal, high, board, clock_mhz)
    if best is None or not _fits(budget, best.plan):
        drafts = _drafts(network, budget, goal, high)
        assert drafts is not None
        _require_fit(network, budget, _finish(network, budget, drafts, board, clock_mhz).plan)
    available = budget.resources
    routable = replace(budget, resources=replace(
        available, luts=int(ROUTABLE * available.luts), ffs=int(ROUTABLE * available.ffs)))
    while low < high:
        middle = (low + high) // 2
        tried = _attempt(network, budget, goal, middle, board, clock_mhz)
        if tried is not None and _fits(routable, tried.plan):
            best, high = tried, min(middle, tried.plan.cycles_per_frame)
        else:
            low = middle + 1
    assert best is not None
    return best


def _check_graph(network: Network) -> None:
    """Refuse a tensor that nobody reads: its stream would come to a standstill."""
    read = {name for layer in network.layers for name in layer.inputs}
    for name in (network.input, *(layer.name for layer in network.layers[:-1])):
        if name not in read:
            raise PenjingError(f"layer {name}: no layer reads it, and it is not the output; remove "
                               "it")


def _slowest(network: Network, goal: Goal) -> int:
    """Cycles a frame at which one multiplier a layer is enough."""
    cycles = [network.input_type.elements]
    for layer in network.layers:
        shape = network.type_of(layer.name)
        cycles.append(max(network.source_type(layer).elements, shape.elements))
        if isinstance(layer, ir.MultiplyAccumulate):
            fold = goal.folds.get(layer.name, Fold(1, 1, 1))
            cycles.append(mac_cycles(network, layer, fold))
        elif isinstance(layer, ir.PoolLayer):
            cycles.append(shape.elements * layer.kernel[0] * layer.kernel[1])
    return max(cycles)


def _drafts(network: Network, budget: Budget, goal: Goal, target: int) -> list[Draft] | None:
    """Every layer at no more than ``target`` cycles, or None where one cannot."""
    model = resources.MODELS[budget.family]
    ports = {network.input: planning.input_port(network.input_type, target)}
    drafts = []
    dsps = budget.resources.dsps
    for layer in network.layers:
        context = planning.Context(
            network, model, tuple(ports[name] for name in layer.inputs), target, dsps)
        if isinstance(layer, ir.MultiplyAccumulate):
            fold = goal.folds.get(layer.name) or smallest_fold(layer, context)
            if fold is None:
                return None
            context = replace(context, fold=fold)
        draft = planning.draft(layer, context)
        if draft.plan.cycles > target and layer.name not in goal.folds:
            return None
        dsps -= draft.plan.dsp_multipliers
        ports[layer.name] = draft.plan.o
        drafts.append(draft)
    return drafts


def _finish(network: Network, budget: Budget, drafts: list[Draft], board: str,
            clock_mhz: float) -> Candidate:
    """Give every buffer its depth and add up the prediction."""
    model = resources.MODELS[budget.family]
    interval = max(draft.plan.cycles for draft in drafts)
    nodes = _nodes(network, drafts)
    i_beats = timing.beats_of(network.input_type.elements, drafts[0].plan.i)
    together = iter(timing.depths(nodes, i_beats, interval))
    layers = []
    for layer, draft in zip(network.layers, drafts, strict=True):
        plan = draft.plan
        if draft.stage is not None:
            depths = next(together)
            if isinstance(draft.stage, timing.Windowed):
                # Deep enough for the layer alone, too, at its own pace.
                own_beats = timing.beats_of(draft.stage.elements, plan.i)
                alone, = timing.depths([timing.Node(draft.stage, (timing.INPUT,))], own_beats,
                                       plan.cycles)
                plan = planning.with_buffer(draft, network, layer, model,
                                            max(depths.words, alone.words))
            plan = planning.with_queues(plan, network, layer, model, depths.queues)
        layers.append(plan)
    rooms = [timing.Depths(layer.buffer_words, tuple(queue.beats for queue in layer.queues))
             for layer, draft in zip(layers, drafts, strict=True) if draft.stage is not None]
    return Candidate(Plan(board, clock_mhz, tuple(layers), interval, 0), nodes, rooms, i_beats)


def _nodes(network: Network, drafts: list[Draft]) -> list[timing.Node]:
    """The graph of all layers but those that are mere wiring."""
    nodes: list[timing.Node] = []
    index = {network.input: timing.INPUT}
    for layer, draft in zip(network.layers, drafts, strict=True):
        sources = tuple(index[name] for name in layer.inputs)
        if draft.stage is None:
            index[layer.name] = sources[0]
        else:
            index[layer.name] = len(nodes)
            nodes.append(timing.Node(draft.stage, sources))
    readers = Counter(source for node in nodes for source in node.inputs)
    # What passes beats on has a queue in front where others read them, too.
    return [replace(node, stage=replace(node.stage, latency=node.stage.latency + QUEUE_LATENCY))
            if isinstance(node.stage, timing.Passing) and readers[node.inputs[0]] > 1 else node
            for node in nodes]


def _attempt(network: Network, budget: Budget, goal: Goal, target: int, board: str,
             clock_mhz: float) -> Candidate | None:
    drafts = _drafts(network, budget, goal, target)
    if drafts is None or sum(d.plan.multipliers for d in drafts) > budget.multipliers:
        return None
    return _finish(network, budget, drafts, board, clock_mhz)


def _shortages(budget: Budget, plan: Plan) -> Iterator[tuple[str, int, int, int]]:
    """(resource, needed, by the link alone, available) of everything that ``plan`` exceeds."""
    link = budget.link(plan) if budget.link else Resources()
    used = plan.resources + link
    for what, needed, linked, available in (
            ("multipliers", plan.multipliers, 0, budget.multipliers),
            ("LUTs", used.luts, link.luts, budget.resources.luts),
            ("flip-flops", used.ffs, link.ffs, budget.resources.ffs),
            ("DSPs", used.dsps, link.dsps, budget.resources.dsps),
            ("block RAMs", used.brams, link.brams, budget.resources.brams)):
        if needed > available:
            yield what, needed, linked, available


def _fits(budget: Budget, plan: Plan) -> bool:
    return not any(_shortages(budget, plan))


def _require_fit(network: Network, budget: Budget, plan: Plan) -> None:
    for what, needed, linked, available in _shortages(budget, plan):
        share = f" ({linked} of them for the serial link)" if linked else ""
        raise PenjingError(
            f"network {network.name}: it needs {needed} {what}{share} on {plan.board}, which has "
            f"{available}; take a larger board, fewer bits, fewer multipliers or a smaller network")
