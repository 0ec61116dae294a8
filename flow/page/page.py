"""What stands on the page, section by section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...boards.layout import KINDS, OTHER
from ...compiler.cost import Resources
from ...compiler.dataflow.report import at_most
from . import floorplan, pipeline
from .charts import gauge, histogram
from .colours import colours
from .markup import Child, Element, element, html, picture, style
from .text import count, percent, shape, short

if TYPE_CHECKING:
    from ..report import Report

__all__ = ["pictures", "render"]

_ROWS = 12
"""Rows of the pipeline that stay together in print."""
_STALLS = {"none": "nobody waits", "input": "input pauses", "output": "output pauses",
           "both": "both pause"}


def render(report: Report) -> str:
    """The HTML document of ``report``."""
    sections = (_pipeline(report), _queues(report), _chip(report), _cells(report),
                _slack(report), _simulation(report), _accuracy(report), _memory(report),
                _weights(report), _layers(report))
    names = [(section.attrib["id"], section[0].text) for section in sections]
    links = element("nav", *(element("a", name, href=f"#{at}") for at, name in names))
    return html(element("html", element(
        "head", element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{report.title} on {report.board.name}"), element("style", style())),
        element("body", _header(report), links, element("main", *sections), _footer(report)),
        lang="en"))


def _section(at: str, title: str, *children: Child, wide: bool = False) -> Element:
    return element("section", element("h2", title), *children, id=at,
                   class_="wide" if wide else None)


def _missing(what: str, command: str) -> Element:
    return element("p", f"{what} To see it here: ", element("code", command), class_="todo")


def _unrouted(report: Report) -> Element:
    if report.board.platform is None:
        return element("p", f"{report.board.name} has no place-and-route here.")
    return _missing("Not routed yet.", report.command("build"))


def _cell_names(report: Report) -> dict[str, str]:
    """What `Resources` count, for people; some families count logic cells."""
    tools = report.board.family.tools
    return {"luts": "logic cells" if tools and tools.logged_ffs else "LUTs", "ffs": "flip-flops",
            "dsps": "DSP blocks", "brams": "block RAMs"}


def _table(columns: Sequence[str], rows: Iterable[Sequence[Child]]) -> Element:
    return element("div", element(
        "table", element("thead", element("tr", *(element("th", name) for name in columns))),
        element("tbody", *(element("tr", *(element("td", cell) for cell in row))
                           for row in rows))), class_="table")


def _header(report: Report) -> Element:
    plan = report.plan
    facts = [
        (short(plan.frames_per_second), "frames a second", f"planned, at {plan.clock_mhz:g} MHz"),
        (f"{plan.latency_cycles / plan.clock_mhz:,.4g} µs", "from first to last",
         f"{at_most(plan.latency_cycles, plan.exact)} cycles, planned"),
        (short(plan.macs), "multiply-accumulates", "a frame")]
    if report.evaluated and report.evaluated["accuracy"] is not None:
        facts.append((f"{report.evaluated['accuracy']:.2%}", "right",
                      f"of {count(report.evaluated['samples'])} samples"))
    if report.simulated:
        found = report.simulated
        facts.append((f"{count(found['mismatches'])} of {count(found['values_compared'])}",
                      "values differ", "Verilog against the golden model"))
    if report.built:
        met = "the clock is met" if report.built["clock_met"] else "the clock is MISSED"
        facts.append((f"{report.built['fmax_mhz']:.1f} MHz", "after routing", met))
    tiles = (element("div", element("strong", value), element("span", what),
                     element("small", note)) for value, what, note in facts)
    return element("header", element("p", "Penjing", class_="brand"),
                   element("h1", report.title),
                   element("p", f"{report.board.name} · {report.board.device} · "
                                f"{len(report.layers)} layers", class_="where"),
                   element("div", *tiles, class_="facts"))


def _footer(report: Report) -> Element:
    return element("footer", f"Made by Penjing {__version__} from the project {report.folder}: ",
                   element("code", report.command("report")))


def _pipeline(report: Report) -> Element:
    return _section("pipeline", "Pipeline", element(
        "p", "Every layer has hardware of its own, and all work at once: a frame enters every "
             f"{at_most(report.plan.cycles_per_frame, report.plan.exact)} cycles. A bar is the "
             "part of this time that a layer needs; the rest of it, the layer is idle. 4×9 are "
             "products a cycle: of 4 outputs, 9 each."), *pipeline.draw(report, _ROWS))


def _chip(report: Report) -> Element:
    if report.layout is None:
        return _section("floorplan", "Floorplan",
                        _unrouted(report))
    layout, paint = report.layout, _paint(report)
    legend = (element("li", element("i", style=f"background:{paint.get(owner, floorplan.REST)}"),
                      owner) for owner in layout.owners if any(layout.cells(owner).values()))
    return _section("floorplan", "Floorplan", floorplan.draw(report.board, layout, paint),
                    element("p", "Each square is a tile, as full as its look-up tables or "
                                 "flip-flops; diamonds are multipliers, framed squares block RAMs. "
                                 f"“{OTHER}” has no layer's name: the clock, and cells that "
                                 "nextpnr has added."),
                    element("ul", *legend, class_="legend"))


def _paint(report: Report) -> Mapping[str, str]:
    return colours([layer.name for layer in report.layers])


def _cells(report: Report) -> Element:
    predicted = report.plan.resources + (report.link or Resources())
    names, rows = _cell_names(report), []
    for cell, name in names.items():
        guess, limit = getattr(predicted, cell), report.budget(cell)
        found = report.built[cell] if report.built else None
        bar = gauge((guess if found is None else found) / limit,
                    None if found is None else guess / limit) if limit else None
        rows.append((name, count(guess), count(found), _error(guess, found), count(limit), bar))
    total = _table(("", "predicted", "routed", "off by", "the chip has", ""), rows)
    note = "The serial link is included." if report.link else None
    if report.layout is None:
        return _section("cells", "Cells", total, element("p", note) if note else None,
                        _unrouted(report))
    columns = [kind for kind in KINDS if any(layer.routed and layer.routed[kind]
                                             for layer in report.layers)]
    by_layer = ((layer.name, *(text for kind in columns for text in (
        count(getattr(layer.plan.resources, kind)), count(layer.routed[kind]))))
        for layer in report.layers if layer.routed)
    heads = [text for kind in columns for text in (names[kind], "routed")]
    return _section("cells", "Cells", total, element("details", element(
        "summary", "Layer by layer, predicted and routed"), element(
        "p", "Routed cells count for the layer whose name they bear; synthesis may have moved "
             "some across."), _table(("layer", *heads), by_layer)),
        element("p", f"{note or ''} The line in a bar is the prediction.") if note else None)


def _error(guess: int, found: int | None) -> str:
    if found is None:
        return "–"
    if guess == found:
        return "exact"
    return f"{(guess - found) / found:+.1%}" if found else f"{guess - found:+d}"


def _slack(report: Report) -> Element:
    if report.built is None or report.layout is None:
        return _section("slack", "Slack", _unrouted(report))
    built = report.built
    text = (f"The clock may run at {built['fmax_mhz']:.1f} MHz; {built['clock_mhz']:g} were "
            f"wanted.")
    if not report.layout.slack:
        return _section("slack", "Slack", element("p", text))
    return _section("slack", "Slack", element("p", text), histogram(report.layout.slack),
                    element("p", "As nextpnr counts; the pale end of a column is what its rounding "
                                 "leaves open."))


def _simulation(report: Report) -> Element:
    found, at = report.simulated, ("simulation", "Simulation")
    parts: list[Child] = []
    if found is None:
        parts.append(_missing("The network is not simulated yet.", report.command("simulate")))
    else:
        slowest = max(pattern["cycles"] for pattern in found["patterns"])
        verdict = ("equal the golden model's" if not found["mismatches"] else
                   f"are compared, {count(found['mismatches'])} DIFFER")
        faults = len(found["faults"])
        parts += [element("p", f"{count(found['values_compared'])} values of {found['frames']} "
                               f"frames under {len(found['patterns'])} stall patterns {verdict}; "
                               f"{count(faults)} stream rules broken."),
                  _table(("", "values", "differ", "cycles in all", ""), (
                      (_STALLS.get(one["stalls"], one["stalls"]), count(one["values_compared"]),
                       count(one["mismatches"]), count(one["cycles"]),
                       gauge(one["cycles"] / slowest)) for one in found["patterns"])),
                  _table(("while nobody waits", "predicted", "simulated"), (
                      ("cycles a frame", _predicted(found, "cycles_per_frame"),
                       count(found["cycles_per_frame"])),
                      ("latency in cycles", _predicted(found, "latency_cycles"),
                       count(found["latency_cycles"]))))]
    if report.alone:
        parts.append(_table(("layer alone", "values", "differ", "predicted", "cycles a frame"), (
            (one["layer"], count(one["values_compared"]), count(one["mismatches"]),
             _predicted(one, "cycles_per_frame"), count(one["cycles_per_frame"]))
            for one in report.alone)))
    return _section(*at, *parts)


def _predicted(simulated: Mapping[str, Any], what: str) -> str:
    """What was predicted of a simulation; older records tell of nothing that is not exact."""
    return at_most(simulated[f"predicted_{what}"], simulated.get("exact", True))


def _accuracy(report: Report) -> Element:
    found = report.evaluated
    if found is None:
        return _section("accuracy", "Accuracy", _missing(
            "Not evaluated yet.", report.command("evaluate", "--data", "X.npz")))
    rows: list[tuple[str, str]] = [("samples", count(found["samples"]))]
    for key, name in (("accuracy", "right, in integers"), ("float_accuracy", "right, in floats"),
                      ("float_difference", "difference from the floats (RMS)")):
        if found[key] is not None:
            rows.append((name, f"{found[key]:.2%}"))
    if found["oracle"] is not None:
        rows.append((f"values unlike those of {found['oracle']}",
                     f"{count(found['oracle_mismatches'])} of {count(found['values_compared'])}"))
    if found["layer_values"]:
        rows += [("values layer by layer", count(found["layer_values"])),
                 ("halves that differ", count(found["halves"])),
                 ("others that differ", count(found["layer_mismatches"]))]
    if found["answers_compared"]:
        differ, compared = count(found["answer_mismatches"]), count(found["answers_compared"])
        rows.append(("answers that differ", f"{differ} of {compared}"))
    return _section("accuracy", "Accuracy", _table(("", ""), rows),
                    *(element("p", note) for note in found["notes"]))


def _layers(report: Report) -> Element:
    paint = _paint(report)
    rows: list[tuple[Child, ...]] = []
    for layer in report.layers:
        plan = layer.plan
        cells = (getattr(plan.resources, field.name) for field in fields(Resources))
        rows.append((
            element("span", element("i", style=f"background:{paint[layer.name]}"), layer.name,
                    class_="key"), plan.layer, type(plan.kind).__name__, shape(layer.result),
            f"{plan.i.lanes} → {plan.o.lanes}",
            f"{plan.fold.pe}×{plan.fold.simd}" if plan.fold else "–", count(plan.macs),
            count(plan.cycles), percent(layer.idle) if plan.cycles else "–", *map(count, cells)))
    return _section("layers", "Layers", _table(
        ("layer", "operation", "hardware", "result", "elements a beat", "products a cycle",
         "MACs", "cycles", "idle", *_cell_names(report).values()), rows),
        element("p", "Cells are predicted."), wide=True)


def _weights(report: Report) -> Element:
    rows = [(layer.name, count(one.count), str(one.bits), one.encoding,
             f"{one.memory_bits / one.count:.3g}", count(one.memory_bits), count(one.values),
             count(one.nonzeros), percent(one.density))
            for layer in report.layers if (one := layer.weights)]
    if not rows:
        return _section("weights", "Weights", element("p", "No layer has weights."))
    return _section("weights", "Weights", _table(
        ("layer", "weights", "bits", "encoding", "bits each in memory", "bits in all",
         "different values", "not 0", "density"), rows))


def _memory(report: Report) -> Element:
    rows = [(layer.name, one.memory.role, count(one.memory.words), count(one.memory.width),
             count(one.memory.copies), count(one.memory.bits), one.memory.storage.value,
             count(one.brams or None)) for layer in report.layers for one in layer.memories]
    if not rows:
        return _section("memory", "Memory", element("p", "No layer has a memory."))
    roles: dict[str, tuple[int, int]] = {}
    for layer in report.layers:
        for one in layer.memories:
            bits, brams = roles.get(one.memory.role, (0, 0))
            roles[one.memory.role] = bits + one.memory.bits, brams + one.brams
    most = max(1, *(bits for bits, _ in roles.values()))
    return _section("memory", "Memory", _table(("for", "bits", "block RAMs", ""), (
        (role, count(bits), count(brams), gauge(bits / most))
        for role, (bits, brams) in roles.items())), element("details", element(
            "summary", "Layer by layer"), _table(
            ("layer", "for", "words", "bits a word", "copies", "bits", "in", "block RAMs"), rows)),
        element("p", "Planned; the serial link's are left out."))


def _queues(report: Report) -> Element:
    rows = [(layer.name, source, count(queue.words), count(queue.width), queue.storage.value)
            for layer in report.layers
            for source, queue in zip(layer.inputs, layer.plan.queues, strict=True) if queue]
    if not rows:
        return _section("queues", "Queues", element("p", "No stream waits for another one."))
    return _section("queues", "Queues", element(
        "p", "Where streams part and meet again, the faster branch waits in a queue, as deep as "
             "analysis says that it must be."), _table(
        ("in front of", "holds", "beats", "bits a beat", "in"), rows))


def pictures(report: Report) -> dict[str, str]:
    """The SVG files of ``report``, by their names; without the chip where it is not routed."""
    row, = pipeline.draw(report)
    found = {"pipeline.svg": picture(row)}
    if report.layout is not None:
        chip = floorplan.draw(report.board, report.layout, _paint(report))
        found["floorplan.svg"] = picture(chip)
    return found
