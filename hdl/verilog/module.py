"""Amaranth's fragments to Verilog, as they are before its own back end takes them bit by bit.

A register is assigned where its clock ticks, under the conditions that it has in the source. A
signal that is only wired to others has no net of its own, and what nothing reads is left out. The
meaning of statements is that of Amaranth 0.5 (``NetlistEmitter`` in ``amaranth.hdl._ir``); what no
block needs raises `ValueError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import _ast as ast
from amaranth.hdl import _ir as ir

from .drivers import Driver, assigned, collect, drivers, targets
from .statements import Statements
from .text import (
    If,
    Line,
    Piece,
    Pieces,
    Set,
    attributes,
    cut,
    expression,
    fill,
    hexadecimal,
    identifier,
    indented,
    merge,
    range_of_bits,
    render,
    text_of,
)
from .values import Values, constant, is_wiring, parameter

__all__ = ["FOLDER_MACRO", "MEMORY", "Memory", "Port", "write"]

MEMORY = "$memory"
"""What an instance is called that stands for an array; its parameter ID is that of the `Memory`."""
FOLDER_MACRO = "PENJING_MEMORIES"
"""Names the folder of the files of memories."""
_SHORT = 80
"""Characters of a choice without a clock that is written as an expression."""


@dataclass(frozen=True)
class Memory:
    """A memory of ``depth`` words: it starts with ``words``, those of the ``file`` if it has one.

    Without words its contents are undefined.
    """

    width: int
    depth: int
    words: Sequence[int]
    file: str
    attributes: Mapping[str, str | int]


@dataclass(frozen=True)
class Port:
    """A port of a module."""

    name: str
    signal: Any
    is_output: bool


def write(design: Any, memories: Sequence[Memory]) -> list[str]:
    """Text of each module of a prepared ``design``, the top one first.

    ``memories`` are those that instances of `MEMORY` name.
    """
    ports = [Port(name, signal, direction is ir.PortDirection.Output)
             for name, signal, direction in design.ports]
    drives: dict[Any, dict[int, Any]] = {}
    collect(design.fragment, drives)
    texts: list[str] = []
    waiting = [(design.fragment, ports)]
    while waiting:
        fragment, ports = waiting.pop(0)
        writer = _Writer(design, fragment, ports, drives, memories)
        texts.append(writer.text())
        waiting += writer.children
    return texts


class _Writer:
    """Writes the module of one fragment."""

    def __init__(self, design: Any, fragment: Any, ports: Sequence[Port],
                 drives: Mapping[Any, Mapping[int, Any]], memories: Sequence[Memory]) -> None:
        self._design = design
        self._fragment = fragment
        self._ports = [port for port in ports if len(port.signal)]
        self._drives = drives
        self._memories = memories
        self.children: list[tuple[Any, list[Port]]] = []
        self._named = design.fragments[fragment].signal_names
        self._names = {id(port.signal): identifier(port.name) for port in self._ports}
        self._inputs = {id(port.signal) for port in self._ports if not port.is_output}
        # Signals by their identity: what instances and modules in this one drive, and registers.
        self._outside: dict[int, Any] = {}
        for part, _, _ in fragment.subfragments:
            self._outside |= drives[part]
        self._registers = {id(signal): signal for domain, statements in fragment.statements.items()
                           if domain != "comb" for statement in statements
                           for signal in assigned(statement)}
        self._drivers = drivers(fragment)
        for others, what in ((self._registers, "with and without a clock"),
                             (self._outside, "by two modules")):
            for key, signal in others.items():
                if key in self._drivers or (key in self._registers and key in self._outside):
                    raise ValueError(f"signal {self._name(signal)} is driven {what}; split it")
        self._values = Values(self._read, self._result, self._choose)
        self._statements = Statements(self._values, self._name)
        self._results: dict[tuple[str, int], Piece] = {}
        self._count = 0
        self._written: set[int] = set()
        self._nets: dict[str, tuple[str, str]] = {}
        """By its name, what a net's declaration begins with, and what stands behind the name."""
        self._assigns: list[str] = []
        self._blocks: list[str] = []

    def text(self) -> str:
        """The whole module."""
        self._share_names()
        clocked = [line for domain, statements in self._fragment.statements.items()
                   if domain != "comb" for line in self._clock(domain, statements)]
        memories: list[str] = []
        instances: list[str] = []
        for part, _, _ in self._fragment.subfragments:
            name = identifier(self._design.fragments[part].name[-1])
            if not isinstance(part, ir.Instance):
                instances += self._child(part, name)
            elif part.type == MEMORY:
                memories += self._memory(part, name)
            else:
                instances += self._instance(part, name)
        for port in self._ports:
            if port.is_output and id(port.signal) not in self._written:
                self._output(port)
        lines = [*self._declarations(), *memories, *self._assigns, *self._blocks, *clocked,
                 *instances]
        return "\n".join([*self._header(), *indented(lines), "endmodule", ""])

    # What drives a signal

    def _share_names(self) -> None:
        """Call what an output only passes on as the output."""
        for port in self._ports:
            driver = self._drivers.get(id(port.signal))
            if not port.is_output or driver is None or not driver.parts or port.signal.attrs:
                continue
            source = driver.parts[0].statement.rhs
            while isinstance(source, ast.Operator) and source.operator in ("u", "s"):
                source = source.operands[0]
            if not isinstance(source, ast.Signal) or id(source) in self._names or (
                    driver.parts[0].place
                    or not len(source) == driver.parts[0].width == len(port.signal)):
                continue
            inner = self._drivers.get(id(source))
            if id(source) in self._registers or id(source) in self._outside or (
                    inner is not None and inner.parts is None):
                self._names[id(source)] = self._names[id(port.signal)]
                self._written.add(id(port.signal))
                if inner is not None:
                    self._define(inner)

    def _output(self, port: Port) -> None:
        """Write what an output is."""
        key, signal = id(port.signal), port.signal
        if key in self._registers or key in self._outside:
            return
        driver = self._drivers.get(key)
        if driver is None:
            pieces = constant(signal.init, len(signal))
        elif driver.parts is None:
            self._define(driver)
            return
        else:
            pieces = self._wired(driver)
        if (text := text_of(pieces)) != (name := self._names[key]):
            self._assigns.append(f"assign {name} = {text};")

    def _define(self, driver: Driver) -> None:
        """Write a net, unless it is written."""
        signal = driver.signal
        if id(signal) in self._written:
            return
        self._written.add(id(signal))
        name, width = self._name(signal), len(signal)
        if driver.parts is not None:
            self._declare(signal, "wire")
            value = self._values.expression(driver.parts[0].statement.rhs, width)
            self._assigns.append(f"assign {name} = {value};")
            return
        start = text_of(constant(signal.init, width))
        lines = [Set(name, start), *self._statements.lines(driver.statements, signal)]
        value = expression(lines, name, "")
        if value and len(value) + len(name) < _SHORT:
            self._declare(signal, "wire")
            self._assigns.append(f"assign {name} = {value};")
        else:
            self._declare(signal, "reg")
            self._blocks += ["always_comb begin", *indented(render(merge(lines), "=")), "end"]

    def _wired(self, driver: Driver) -> Pieces:
        """What a signal is whose bits are each assigned at most once."""
        signal, parts = driver.signal, sorted(driver.parts or (), key=lambda part: part.low)
        width = len(signal)
        first = parts[0]
        if first.width == len(first.statement.lhs) == width and (
                signal.attrs or not is_wiring(first.statement.rhs)):
            self._define(driver)
            return self._whole(signal)
        start = constant(signal.init, width)
        found: list[Piece] = []
        place = 0
        for part in parts:
            found += [*cut(start, place, part.low), *self._statements.part(part)]
            place = part.low + part.width
        return (*found, *cut(start, place, width))

    # Nets

    def _name(self, signal: Any) -> str:
        name = self._names.get(id(signal))
        if name is None:
            name = identifier(self._named[signal] if signal in self._named
                              else f"$net{len(self._names)}")
            self._names[id(signal)] = name
        return name

    def _declare(self, signal: Any, kind: str, start: str = "") -> str:
        """The name of a signal, which is a net of that ``kind``."""
        name = self._name(signal)
        head = f"{attributes(signal.attrs)}{kind} {range_of_bits(len(signal))}"
        self._nets.setdefault(name, (head, start))
        return name

    def _whole(self, signal: Any) -> Pieces:
        width = len(signal)
        return (Piece(self._name(signal), 0, width, width),)

    def _read(self, signal: Any) -> Pieces:
        """What a signal is that is read."""
        key, width = id(signal), len(signal)
        if not width:
            return ()
        if key in self._outside:
            self._declare(signal, "wire")
        if key in self._outside or key in self._registers or key in self._inputs:
            return self._whole(signal)
        driver = self._drivers.get(key)
        if driver is None:
            return constant(signal.init, width)
        if driver.parts is not None:
            return self._wired(driver)
        self._define(driver)
        return self._whole(signal)

    def _new(self, kind: str, width: int) -> Piece:
        """A net without a name of its own."""
        self._count += 1
        name = identifier(f"${self._count}")
        self._nets[name] = f"{kind} {range_of_bits(width)}", ""
        return Piece(name, 0, width, width)

    def _result(self, text: str, width: int) -> Piece:
        """The net of what is computed; equal texts are computed once."""
        piece = self._results.get((text, width))
        if piece is None:
            piece = self._results[text, width] = self._new("wire", width)
            self._assigns.append(f"assign {piece.source} = {text};")
        return piece

    def _choose(self, value: Any) -> Piece:
        """The net of a value that is chosen among several."""
        width = len(value)
        piece = self._new("reg", width)
        name = str(piece.source)
        cases: list[tuple[Sequence[str] | None, list[Line]]] = [
            (patterns, [Set(name, self._values.expression(inner, width))])
            for patterns, inner in value.cases]
        lines = [Set(name, hexadecimal(0, width)), *self._statements.switch(value.test, cases)]
        self._blocks += ["always_comb begin", *indented(render(merge(lines), "=")), "end"]
        return piece

    # Statements

    def _clock(self, domain: str, statements: Iterable[Any]) -> list[str]:
        """What happens when a clock ticks; the reset comes last."""
        clock = self._fragment.domains[domain]
        if clock.clk_edge != "pos" or clock.async_reset:
            raise ValueError(f"domain {domain} must have a rising edge and no asynchronous reset")
        lines = merge(self._statements.lines(statements, None))
        resets: list[Line] = []
        registers = {id(one): one for statement in statements for one in assigned(statement)}
        for signal in registers.values():
            start = text_of(constant(signal.init, len(signal)))
            name = self._declare(signal, "reg", f" = {start}")
            if clock.rst is not None and not signal.reset_less:
                resets.append(Set(name, start))
        if resets:
            lines.append(If((text_of(self._read(clock.rst)),), [resets]))
        return [f"always @(posedge {text_of(self._read(clock.clk))}) begin",
                *indented(render(lines, "<=")), "end"]

    # What is in the module

    def _instance(self, part: Any, name: str) -> list[str]:
        parameters = [f".{identifier(key)}({parameter(value)})"
                      for key, value in part.parameters.items()]
        ports = [f".{identifier(key)}({text})" for key, (value, kind) in part.ports.items()
                 if (text := self._port(value, kind))]
        kind = f"{attributes(part.attrs)}{identifier(part.type)} "
        if not parameters:
            return fill(f"{kind}{name} (", ports, ");")
        return [*fill(f"{kind}#(", parameters, ")"), *fill(f"{name} (", ports, ");")]

    def _port(self, value: Any, kind: str) -> str:
        """What a port of an instance is connected to."""
        if kind == "i":
            return self._values.bit(value) if len(value) == 1 else self._values.text(value)
        pieces = tuple(Piece(self._declare(signal, "wire"), low, width, len(signal))
                       for signal, low, width in targets(value))
        return text_of(pieces)

    def _child(self, part: Any, name: str) -> list[str]:
        """A module that is not shared; its ports are the signals that are known out here too."""
        info = self._design.fragments[part]
        if not part.statements and not part.subfragments:
            return []
        here = self._design.fragments[self._fragment].used_signals
        ports = [Port(info.signal_names[signal], signal, id(signal) in self._drives[part])
                 for signal in info.used_signals if signal in here]
        self.children.append((part, ports))
        texts = [(port.name, self._declare(port.signal, "wire") if port.is_output
                  else text_of(self._read(port.signal))) for port in ports if len(port.signal)]
        return fill(f"{identifier('.'.join(info.name))} {name} (",
                    [f".{identifier(key)}({text})" for key, text in texts], ");")

    def _memory(self, part: Any, name: str) -> list[str]:
        """A memory with its ports."""
        memory = self._memories[part.parameters["ID"]]
        ports = {key: self._port(value, kind) for key, (value, kind) in part.ports.items()}
        head = f"{attributes(memory.attributes)}reg {range_of_bits(memory.width)}"
        lines = [f"{head}{name} [0:{memory.depth - 1}];"]
        if memory.file:
            lines.append(f'initial $readmemh({{`{FOLDER_MACRO}, "{memory.file}"}}, {name});')
        elif memory.words:
            words = [f"{name}[{n}] = {hexadecimal(word, memory.width)};"
                     for n, word in enumerate(memory.words)]
            lines += ["initial begin", *fill("", words, "", " "), "end"]
        ticks: list[Line] = []
        for key, text in ports.items():
            port, _, role = key.rpartition("_")
            if role != "data":
                continue
            word = f"{name}[{ports[f'{port}_addr']}]"
            enable = ports.get(f"{port}_en")
            if enable is None:
                lines.append(f"assign {text} = {word};")
                continue
            if port.startswith("read"):
                self._nets[text] = f"reg {self._nets[text][0].partition(' ')[2]}", ""
            if port.startswith("write"):
                action = Set(word + _part_written(port, part.ports[key][0], memory), text)
            else:
                action = Set(text, word)
            ticks.append(action if enable == "1'h1" else If((enable,), [[action]]))
        if ticks:
            lines += [f"always @(posedge {ports['clk']}) begin",
                      *indented(render(merge(ticks), "<=")), "end"]
        return lines

    # Declarations

    def _declarations(self) -> list[str]:
        """Nets, those of one kind together."""
        ports = {self._names[id(port.signal)] for port in self._ports}
        kinds: dict[str, list[str]] = {}
        for name, (head, start) in self._nets.items():
            if name not in ports:
                kinds.setdefault(head, []).append(name + start)
        return [line for head, names in kinds.items() for line in fill(head, names, ";")]

    def _header(self) -> list[str]:
        ports = []
        for port in self._ports:
            name = self._names[id(port.signal)]
            head, start = self._nets.get(name, ("", ""))
            kind, found, _ = head.rpartition("reg ")
            direction = "output" if port.is_output else "input"
            ports.append(f"{kind if found else ''}{direction} {found}"
                         f"{range_of_bits(len(port.signal))}{name}{start}")
        module = identifier(".".join(self._design.fragments[self._fragment].name))
        return fill(f"module {module}(", ports, ");")


def _part_written(port: str, data: Any, memory: Memory) -> str:
    """Which bits of a word the ``port`` of its ``data`` writes, nothing where that is all."""
    low = int(port.rpartition("_")[2]) * len(data)
    return f"[{low + len(data) - 1}:{low}]" if len(data) < memory.width else ""
