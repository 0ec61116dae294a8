"""Amaranth's fragments to Verilog, as they are before its own back end takes them bit by bit.

A register is assigned where its clock ticks, under the conditions that it has in the source. A
signal that is only wired to others has no net of its own, and what nothing reads is left out. The
meaning of statements is that of Amaranth 0.5 (``NetlistEmitter`` in ``amaranth.hdl._ir``); what no
block needs raises `ValueError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import _ast as ast
from amaranth.hdl import _ir as ir

from .values import Values, constant, is_wiring, parameter
from .verilog import (
    Case,
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

__all__ = ["FOLDER_MACRO", "MEMORY", "Memory", "Port", "write"]

MEMORY = "$memory"
"""What an instance is called that stands for an array; its parameter ID is that of the `Memory`."""
FOLDER_MACRO = "PENJING_MEMORIES"
"""Names the folder of the files of memories."""
_NOT = {"1'h0": "1'h1", "1'h1": "1'h0"}
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


@dataclass(frozen=True)
class _Part:
    """``width`` bits of a signal, from ``low`` on, are those of a statement from ``place`` on."""

    low: int
    width: int
    statement: Any
    place: int


@dataclass
class _Driver:
    """What assigns a signal without a clock; ``parts`` if each bit is assigned at most once.

    In that case it is assigned under no condition.
    """

    signal: Any
    statements: list[Any] = field(default_factory=list)
    parts: list[_Part] | None = field(default_factory=list)


def write(design: Any, memories: Sequence[Memory]) -> list[str]:
    """Text of each module of a prepared ``design``, the top one first.

    ``memories`` are those that instances of `MEMORY` name.
    """
    ports = [Port(name, signal, direction is ir.PortDirection.Output)
             for name, signal, direction in design.ports]
    drives: dict[Any, dict[int, Any]] = {}
    _collect(design.fragment, drives)
    texts: list[str] = []
    waiting = [(design.fragment, ports)]
    while waiting:
        fragment, ports = waiting.pop(0)
        writer = _Writer(design, fragment, ports, drives, memories)
        texts.append(writer.text())
        waiting += writer.children
    return texts


def _collect(fragment: Any, drives: dict[Any, dict[int, Any]]) -> dict[int, Any]:
    """What each fragment drives, by itself or by what is in it; signals by their identity."""
    found: dict[int, Any] = {}
    drives[fragment] = found
    if isinstance(fragment, ir.Instance):
        for value, kind in fragment.ports.values():
            if kind == "o":
                found |= {id(signal): signal for signal, _, _ in _targets(value)}
    for statements in fragment.statements.values():
        for statement in statements:
            found |= {id(signal): signal for signal in _assigned(statement)}
    for part, _, _ in fragment.subfragments:
        found |= _collect(part, drives)
    return found


def _assigned(statement: Any) -> Iterator[Any]:
    """The signals that a statement assigns, some of them twice."""
    if isinstance(statement, ast.Assign):
        for signal, _, _ in _targets(statement.lhs):
            yield signal
    elif isinstance(statement, ast.Switch):
        for _, statements, _ in statement.cases:
            for inner in statements:
                yield from _assigned(inner)
    else:
        raise ValueError(f"there must be no {type(statement).__name__} in hardware")


def _targets(value: Any) -> Iterator[tuple[Any, int, int]]:
    """The signals that ``value`` is made of, the first bit of each and how many, lowest first."""
    if isinstance(value, ast.Signal):
        yield value, 0, len(value)
    elif isinstance(value, ast.Operator) and value.operator in ("u", "s"):
        yield from _targets(value.operands[0])
    elif isinstance(value, ast.Concat):
        for part in value.parts:
            yield from _targets(part)
    elif isinstance(value, ast.Slice):
        place = 0
        for signal, low, width in _targets(value.value):
            first, last = max(value.start - place, 0), min(value.stop - place, width)
            if first < last:
                yield signal, low + first, last - first
            place += width
    else:
        raise ValueError(f"{value!r} must not be assigned to")


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
                           for signal in _assigned(statement)}
        self._drivers = self._find_drivers()
        self._values = Values(self._read, self._result, self._choose)
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

    def _find_drivers(self) -> dict[int, _Driver]:
        drivers: dict[int, _Driver] = {}
        for statement in self._fragment.statements.get("comb", ()):
            if not isinstance(statement, ast.Assign):
                for key, signal in {id(one): one for one in _assigned(statement)}.items():
                    driver = drivers.setdefault(key, _Driver(signal))
                    driver.statements.append(statement)
                    driver.parts = None
                continue
            place = 0
            for signal, low, width in _targets(statement.lhs):
                driver = drivers.setdefault(id(signal), _Driver(signal))
                if not driver.statements or driver.statements[-1] is not statement:
                    driver.statements.append(statement)
                if driver.parts is not None and any(
                        low < part.low + part.width and part.low < low + width
                        for part in driver.parts):
                    driver.parts = None
                elif driver.parts is not None:
                    driver.parts.append(_Part(low, width, statement, place))
                place += width
        return drivers

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
                    not len(source) == driver.parts[0].width == len(port.signal)):
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

    def _define(self, driver: _Driver) -> None:
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
        lines = [Set(name, start), *self._lines(driver.statements, signal)]
        value = expression(lines, name, "")
        if value and len(value) + len(name) < _SHORT:
            self._declare(signal, "wire")
            self._assigns.append(f"assign {name} = {value};")
        else:
            self._declare(signal, "reg")
            self._blocks += ["always_comb begin", *indented(render(merge(lines), "=")), "end"]

    def _wired(self, driver: _Driver) -> Pieces:
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
            found += [*cut(start, place, part.low), *self._part(part)]
            place = part.low + part.width
        return (*found, *cut(start, place, width))

    def _part(self, part: _Part) -> Pieces:
        """The bits of an assigned value that a part is."""
        value, width = part.statement.rhs, len(part.statement.lhs)
        stop = part.place + part.width
        pieces = self._values.pieces(value)
        if stop > len(value):
            pieces = ((self._result(self._values.expression(value, width), width),)
                      if value.shape().signed else (*pieces, *constant(0, width - len(value))))
        return cut(pieces, part.place, stop)

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
        lines = [Set(name, hexadecimal(0, width)), *self._switch(value.test, cases)]
        self._blocks += ["always_comb begin", *indented(render(lines, "=")), "end"]
        return piece

    # Statements

    def _clock(self, domain: str, statements: Iterable[Any]) -> list[str]:
        """What happens when a clock ticks; the reset comes last."""
        clock = self._fragment.domains[domain]
        if clock.clk_edge != "pos" or clock.async_reset:
            raise ValueError(f"domain {domain} must have a rising edge and no asynchronous reset")
        lines = merge(self._lines(statements, None))
        resets: list[Line] = []
        registers = {id(one): one for statement in statements for one in _assigned(statement)}
        for signal in registers.values():
            if not len(signal):
                continue
            start = text_of(constant(signal.init, len(signal)))
            name = self._declare(signal, "reg", f" = {start}")
            if clock.rst is not None and not signal.reset_less:
                resets.append(Set(name, start))
        if resets:
            lines.append(If((text_of(self._read(clock.rst)),), [resets]))
        return [f"always @(posedge {text_of(self._read(clock.clk))}) begin",
                *indented(render(lines, "<=")), "end"]

    def _lines(self, statements: Iterable[Any], only: Any) -> list[Line]:
        """The statements, those for the signal ``only`` unless that is None."""
        lines: list[Line] = []
        for statement in statements:
            if only is not None and all(signal is not only for signal in _assigned(statement)):
                continue
            if isinstance(statement, ast.Assign):
                lines += self._assign(statement, only)
            else:
                lines += self._switch(statement.test, [
                    (patterns, self._lines(inner, only)) for patterns, inner, _ in statement.cases])
        return lines

    def _assign(self, statement: Any, only: Any) -> Iterator[Line]:
        width = len(statement.lhs)
        place, targets = 0, []
        for signal, low, bits in _targets(statement.lhs):
            if only is None or signal is only:
                targets.append(Piece(self._name(signal), low, bits, len(signal)))
                part = _Part(low, bits, statement, place)
            place += bits
        if not width:
            return
        if len(targets) == 1 and targets[0].width < width:
            yield Set(text_of((targets[0],)), text_of(self._part(part)))
        elif sum(target.width for target in targets) < width:
            raise ValueError("an assignment must have a signal at most once on its left side")
        else:
            yield Set(text_of(tuple(targets)), self._values.expression(statement.rhs, width))

    def _switch(self, test: Any, cases: Sequence[tuple[Sequence[str] | None, list[Line]]]
                ) -> list[Line]:
        """A choice of the first of the ``cases`` with a pattern that ``test`` matches."""
        if not len(test):
            return cases[0][1]
        conditions = self._conditions(test, [patterns for patterns, _ in cases])
        if conditions is None:
            patterns = tuple(
                "default" if some is None
                else ", ".join(f"{len(one)}'b{one.replace('-', '?')}" for one in some)
                for some, _ in cases)
            return [Case(self._values.text(test), patterns, [body for _, body in cases])]
        chosen = [(condition, body) for condition, (_, body)
                  in zip(conditions, cases, strict=True) if condition != "1'h0"]
        always = next((n for n, (condition, _) in enumerate(chosen)
                       if condition in ("", "1'h1")), None)
        if always is not None:
            chosen[always:] = [("", chosen[always][1])]
        while chosen and not chosen[-1][1]:
            del chosen[-1]
        if not chosen:
            return []
        if not chosen[0][0]:
            return chosen[0][1]
        return [If(tuple(condition for condition, _ in chosen), [body for _, body in chosen])]

    def _conditions(self, test: Any, cases: Iterable[Sequence[str] | None]) -> list[str] | None:
        """What each case asks of one bit, nothing of an ``else``; None if one asks for more."""
        conditions = []
        for patterns in cases:
            if patterns is None:
                conditions.append("")
                continue
            asked = [n for n, bit in enumerate(patterns[0]) if bit != "-"] if patterns else []
            if len(patterns) != 1 or len(asked) != 1:
                return None
            (place,) = asked
            text = self._condition(test, len(test) - 1 - place)
            conditions.append(text if patterns[0][place] == "1" else _NOT.get(text, f"!({text})"))
        return conditions

    def _condition(self, test: Any, bit: int) -> str:
        """One bit of ``test``."""
        while isinstance(test, ast.Concat):
            for part in test.parts:
                if bit < len(part):
                    test = part
                    break
                bit -= len(part)
        return (self._values.bit(test) if len(test) == 1
                else text_of(cut(self._values.pieces(test), bit, bit + 1)))

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
                       for signal, low, width in _targets(value))
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
            action = Set(word, text) if port.startswith("write") else Set(text, word)
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
