"""Modules of RTLIL to SystemVerilog that people and tools read quickly.

A register is assigned where its clock ticks, under the conditions that it has in the source: the
registers of a module share one ``always`` block, and those with the same conditions one ``if``.
Signals that are only another name of a net are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .rtlil import ITEM, Assign, Cell, Module, Statement, Switch, Wire

__all__ = ["MACRO", "MEMORIES", "MEMORY", "Memory", "hex_words", "write"]

MEMORY = "$memory"
"""What an instance is called that stands for an array; its parameter ID is that of the `Memory`."""
MEMORIES = "memories"
"""The folder of the files of memories, beside that of the text."""
MACRO = f"""`ifndef PENJING_MEMORIES
`define PENJING_MEMORIES "{MEMORIES}/"
`endif
"""
"""Where the text looks for these files, unless the user says it."""

_COLUMNS = 100
_OPERATORS = {
    "$add": "+", "$sub": "-", "$mul": "*", "$and": "&", "$or": "|", "$xor": "^", "$shl": "<<",
    "$shr": ">>", "$sshr": ">>>", "$eq": "==", "$ne": "!=", "$lt": "<", "$le": "<=", "$gt": ">",
    "$ge": ">=", "$not": "~", "$neg": "-", "$reduce_and": "&", "$reduce_or": "|",
    "$reduce_xor": "^", "$reduce_bool": "|", "$shift": ">>", "$divfloor": "/", "$modfloor": "%"}
_UNSIGNED = ("$shift", "$divfloor", "$modfloor")
"""Cells that are no operator of Verilog where they are signed."""
_RESERVED = """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before
begin bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class
clocking cmos config const constraint context continue cover covergroup coverpoint cross deassign
default defparam design disable dist do edge else end endcase endchecker endclass endclocking
endconfig endfunction endgenerate endgroup endinterface endmodule endpackage endprimitive endprogram
endproperty endsequence endspecify endtable endtask enum event eventually expect export extends
extern final first_match for force foreach forever fork forkjoin function generate genvar global
highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import incdir include
initial inout input inside instance int integer interconnect interface intersect join join_any
join_none large let liblist library local localparam logic longint macromodule matches medium
modport module nand negedge nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null or
output package packed parameter pmos posedge primitive priority program property protected pull0
pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence
rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0
rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal
showcancelled signed small soft solve specify specparam static string strong strong0 strong1 struct
super supply0 supply1 sync_accept_on sync_reject_on table tagged task this throughout time
timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type typedef union
unique unique0 unsigned until until_with untyped use uwire var vectored virtual void wait wait_order
wand weak weak0 weak1 while wildcard wire with within wor xnor xor"""
_KEYWORDS = frozenset(_RESERVED.split())
_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")


@dataclass(frozen=True)
class Memory:
    """An array of ``depth`` words: it starts with ``words``, those of the ``file`` if it has one.

    Without words its contents are undefined.
    """

    width: int
    depth: int
    words: Sequence[int]
    file: str
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class _Set:
    """An assignment, in Verilog."""

    target: str
    value: str


@dataclass(frozen=True)
class _If:
    """The first of the ``bodies`` whose condition is true; that of an ``else`` is empty."""

    conditions: tuple[str, ...]
    bodies: list[list[_Line]]


@dataclass(frozen=True)
class _Case:
    """The first of the ``bodies`` with a pattern that ``value`` matches; "default" always does."""

    value: str
    patterns: tuple[str, ...]
    bodies: list[list[_Line]]


_Line = _Set | _If | _Case


def hex_words(words: Iterable[int], width: int) -> str:
    """The ``words`` as ``$readmemh`` takes them, one a line."""
    digits = -(-width // 4)
    return "".join(f"{word:0{digits}x}\n" for word in words)


def write(module: Module, memories: Sequence[Memory]) -> str:
    """SystemVerilog of ``module``; ``memories`` are those that its instances of `MEMORY` name."""
    return _Writer(module, memories).text()


class _Writer:
    """Writes one module."""

    def __init__(self, module: Module, memories: Sequence[Memory]) -> None:
        self._module = module
        self._memories = memories
        self._wires = module.wires
        self._names: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._starts: dict[str, str] = {}
        """Wires that are assigned in blocks, and what each is at the start."""

    def text(self) -> str:
        """The whole module."""
        registers = [cell for cell in self._module.cells if cell.kind == "$dff"]
        folded = self._folded(registers)
        aliases = dict(self._module.aliases)
        hidden = folded | {name for name in aliases if not self._is_needed(self._wires[name])}
        arrays, operators, instances = [], [], []
        for cell in self._module.cells:
            if cell.kind == f"\\{MEMORY}":
                arrays += self._array(cell)
            elif cell.kind[0] == "\\":
                instances += self._instance(cell)
            elif cell.kind != "$dff" and self._wires[cell.ports["Y"]].width:
                operators.append(self._operator(cell))
        clocked = self._clocked(registers, folded)
        operators += [f"assign {self._value(name)} = {self._value(value)};"
                      for name, value in aliases.items() if name not in hidden]
        processes = [line for name, body in self._module.processes.items()
                     if name not in folded for line in self._process(name, body)]
        lines = [*self._declarations(hidden), *arrays, *operators, *processes, *clocked, *instances]
        body = "".join(f"  {line}\n" for line in lines)
        return f"{self._header()}{body}endmodule\n"

    def _folded(self, registers: Iterable[Cell]) -> set[str]:
        """Processes that are the next value of one register and nothing else: of its conditions."""
        read = [value for cell in self._module.cells for value in cell.ports.values()]
        read += [value for _, value in self._module.aliases]
        for body in self._module.processes.values():
            read += _read(body)
        times = Counter(re.findall(r"(?<!\S)\$\d+(?!\S)", " ".join(read)))
        folded = set()
        for cell in registers:
            wire = cell.ports["D"].partition(" ")[0]
            if (times[wire] == 1 and wire in self._module.processes
                    and self._wires[wire].width == self._wires[cell.ports["Q"]].width):
                folded.add(wire)
        return folded

    @staticmethod
    def _is_needed(wire: Wire) -> bool:
        """Whether a wire that is another name of a net must be there."""
        return wire.width > 0 and bool(wire.direction or _attributes(wire.attributes))

    # Names and values

    def _name(self, wire: str) -> str:
        """What a wire is called; an escaped name ends in a space."""
        name = self._names.get(wire)
        if name is None:
            name = self._names[wire] = _identifier(wire)
        return name

    def _value(self, value: str) -> str:
        """A value, or the target of an assignment; empty if it has no bits."""
        text = self._values.get(value)
        if text is None:
            parts = [self._bits(*item) for item in ITEM.findall(value)]
            text = parts[0] if len(parts) == 1 else f"{{{', '.join(parts)}}}" if parts else ""
            self._values[value] = text
        return text

    def _bits(self, name: str, high: str, low: str) -> str:
        if name[0] not in "\\$":
            return _constant(name)
        width = self._wires[name].width
        if not high or width == 1 or (low == "0" and int(high) == width - 1):
            return self._name(name)
        return f"{self._name(name)}[{high}{low and ':'}{low}]"

    # Cells

    def _operator(self, cell: Cell) -> str:
        ports = {name: self._value(value) or "1'h0" for name, value in cell.ports.items()}
        if cell.kind == "$mux":
            value = f"{ports['S']} ? {ports['B']} : {ports['A']}"
        else:
            if cell.kind not in _OPERATORS or (
                    cell.kind in _UNSIGNED and cell.parameters["A_SIGNED"] != "0"):
                raise ValueError(f"there must be no {cell.kind} in {self._module.name}")
            operands = [f"$signed({ports[name]})" if cell.parameters[f"{name}_SIGNED"] != "0"
                        else ports[name] for name in "AB" if name in ports]
            operator = _OPERATORS[cell.kind]
            value = (f"{operator} {operands[0]}" if len(operands) == 1
                     else f"{operands[0]} {operator} {operands[1]}")
        return f"assign {ports['Y']} = {value};"

    def _instance(self, cell: Cell) -> list[str]:
        parameters = [f".{_identifier(key)}({_parameter(value)})"
                      for key, value in cell.parameters.items()]
        ports = [f".{_identifier(key)}({value})"
                 for key, spec in cell.ports.items() if (value := self._value(spec))]
        kind, name = _identifier(cell.kind), _identifier(cell.name)
        attributes = _attributes(cell.attributes)
        if not parameters:
            return _fill(f"{attributes}{kind} {name} (", ports, ");")
        return [*_fill(f"{attributes}{kind} #(", parameters, ")"), *_fill(f"{name} (", ports, ");")]

    def _array(self, cell: Cell) -> list[str]:
        """A memory with its ports."""
        memory = self._memories[int(cell.parameters["ID"])]
        name, value = _identifier(cell.name), {key: self._value(v) for key, v in cell.ports.items()}
        head = f"{_attributes(memory.attributes)}reg {_range(memory.width)}"
        lines = [f"{head}{name} [0:{memory.depth - 1}];"]
        if memory.file:
            lines.append(f'initial $readmemh({{`PENJING_MEMORIES, "{memory.file}"}}, {name});')
        elif memory.words:
            words = [f"{name}[{n}] = {_hex(word, memory.width)};"
                     for n, word in enumerate(memory.words)]
            lines += ["initial begin", *_fill("", words, "", " "), "end"]
        ticks = []
        for n in range(sum(key.startswith("write_") for key in value) // 3):
            ticks.append(_when(value[f"write_{n}_en"], f"{name}[{value[f'write_{n}_addr']}] <= "
                                                       f"{value[f'write_{n}_data']};"))
        for key in cell.ports:
            if not (key.startswith("read_") and key.endswith("_data")):
                continue
            port, data = key.removesuffix("_data"), value[key]
            word = f"{name}[{value[f'{port}_addr']}]"
            if f"{port}_en" in value:
                self._starts[cell.ports[key]] = ""
                ticks.append(_when(value[f"{port}_en"], f"{data} <= {word};"))
            else:
                lines.append(f"assign {data} = {word};")
        if ticks:
            lines += [f"always @(posedge {value['clk']}) begin", *_indented(ticks), "end"]
        return lines

    # Processes

    def _clocked(self, registers: Sequence[Cell], folded: set[str]) -> list[str]:
        """One block for the registers of each clock; resets, which come last, are its end."""
        clocks: dict[str, tuple[list[_Line], list[_Line]]] = {}
        for cell in registers:
            register, value = cell.ports["Q"], cell.ports["D"]
            name = self._name(register)
            if cell.parameters["CLK_POLARITY"] != "1":
                raise ValueError(f"{name} in {self._module.name} must wait for a rising edge")
            start = self._wires[register].attributes.get("init", "")
            self._starts[register] = start and f" = {_constant(start)}"
            process = value.partition(" ")[0]
            if process in folded:
                self._names[process] = name
                lines = self._lines(self._module.processes[process])
                if lines[0] == _Set(name, name):
                    del lines[0]
            else:
                lines = [_Set(name, self._value(value))]
            body, resets = clocks.setdefault(self._value(cell.ports["CLK"]), ([], []))
            if lines and _is_reset(lines[-1]):
                _merge(resets, [lines.pop()])
            _merge(body, lines)
        return [line for clock, (body, resets) in clocks.items()
                for line in (f"always @(posedge {clock}) begin",
                             *_indented(_render([*body, *resets], "<=")), "end")]

    def _process(self, wire: str, body: Sequence[Statement]) -> list[str]:
        """What drives a wire without a clock."""
        name, lines = self._name(wire), self._lines(body)
        value = _expression(lines, name, "")
        if value and len(value) + len(name) < _COLUMNS - 15:
            return [f"assign {name} = {value};"]
        self._starts[wire] = ""
        return ["always_comb begin", *_indented(_render(lines, "=")), "end"]

    def _lines(self, body: Iterable[Statement]) -> list[_Line]:
        lines: list[_Line] = []
        for statement in body:
            if isinstance(statement, Assign):
                if target := self._value(statement.target):
                    lines.append(_Set(target, self._value(statement.value)))
                continue
            if not self._value(statement.value):  # without a bit, the first case it is
                lines += self._lines(statement.cases[0][1])
                continue
            bodies = [self._lines(inner) for _, inner in statement.cases]
            conditions = self._conditions(statement)
            if conditions is None:
                patterns = tuple(
                    ", ".join(f"{len(one)}'b{one.replace('-', '?')}" for one in some) or "default"
                    for some, _ in statement.cases)
                lines.append(_Case(self._value(statement.value), patterns, bodies))
                continue
            while bodies and not bodies[-1]:
                del bodies[-1]
            if bodies:
                lines.append(_If(conditions[: len(bodies)], bodies))
        return lines

    def _conditions(self, switch: Switch) -> tuple[str, ...] | None:
        """What each case asks of one bit, nothing of an ``else``; None if one asks for more."""
        bits = [bit for item in ITEM.findall(switch.value) for bit in self._single(*item)]
        conditions = []
        for patterns, _ in switch.cases:
            asked = [n for n, bit in enumerate(patterns[0]) if bit != "-"] if patterns else []
            if not patterns:
                conditions.append("")
            elif len(patterns) > 1 or len(asked) != 1:
                return None
            else:
                (place,) = asked
                conditions.append(bits[place] if patterns[0][place] == "1" else f"!{bits[place]}")
        return tuple(conditions)

    def _single(self, name: str, high: str, low: str) -> Iterable[str]:
        """The bits of an item of a value, the highest first."""
        if name[0] not in "\\$":
            return (f"1'h{bit}" for bit in name.partition("'")[2])
        numbers = (range(int(high), int(low or high) - 1, -1) if high
                   else range(self._wires[name].width - 1, -1, -1))
        return (self._bits(name, str(number), "") for number in numbers)

    # Declarations

    def _declarations(self, hidden: Collection[str]) -> list[str]:
        """Wires and registers, those of the same kind together."""
        kinds: dict[str, list[str]] = {}
        for wire, what in self._wires.items():
            if what.width and not what.direction and wire not in hidden:
                kind = "wire" if wire not in self._starts else "reg"
                head = f"{_attributes(what.attributes)}{kind} {_range(what.width)}"
                kinds.setdefault(head, []).append(self._name(wire) + self._starts.get(wire, ""))
        return [line for head, names in kinds.items() for line in _fill(head, names, ";")]

    def _header(self) -> str:
        ports = [f"{_attributes(what.attributes)}{what.direction} "
                 f"{'reg ' if wire in self._starts else ''}{_range(what.width)}"
                 f"{self._name(wire)}{self._starts.get(wire, '')}"
                 for wire, what in self._wires.items() if what.direction and what.width]
        name = _identifier(f"\\{self._module.name}")
        return "".join(f"{line}\n" for line in _fill(f"module {name}(", ports, ");"))


def _read(body: Iterable[Statement]) -> Iterator[str]:
    """The values that statements look at."""
    for statement in body:
        yield statement.value
        if isinstance(statement, Switch):
            for _, inner in statement.cases:
                yield from _read(inner)


def _identifier(name: str) -> str:
    """A name of RTLIL in Verilog, where none may begin as Amaranth's own do."""
    name = name.removeprefix("\\")
    if name[0] == "$":
        return f"_{name[1:]}"
    return name if _SIMPLE.fullmatch(name) and name not in _KEYWORDS else f"\\{name} "


def _range(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""


def _hex(value: int, width: int) -> str:
    return f"{width}'h{value:0{-(-width // 4)}x}"


def _constant(text: str) -> str:
    """A constant of RTLIL, ``8'01010101``, in Verilog."""
    width, _, bits = text.partition("'")
    return _hex(int(bits, 2), int(width)) if not bits.strip("01") else f"{width}'b{bits}"


def _parameter(value: str) -> str:
    if value[0] == '"':
        return value
    kind, _, rest = value.partition(" ")
    if kind == "real":
        return rest.strip('"')
    text = rest or value
    return _constant(text) if "'" in text else text


def _attributes(attributes: Mapping[str, str]) -> str:
    """Those that a synthesis tool is to see."""
    shown = [f"{name} = {value}" for name, value in attributes.items() if name != "init"]
    return f"(* {', '.join(shown)} *) " if shown else ""


def _fill(head: str, items: Sequence[str], tail: str, separator: str = ", ") -> list[str]:
    """``head``, the ``items`` and ``tail`` in lines of at most `_COLUMNS`, if items allow."""
    lines = [head]
    for n, item in enumerate(items):
        item += tail if n == len(items) - 1 else separator.rstrip()
        if lines[-1] and not lines[-1].isspace() and len(lines[-1]) + len(item) > _COLUMNS - 3:
            lines[-1] = lines[-1].rstrip()
            lines.append("  ")
        lines[-1] += f"{item} "
    if not items:
        lines[-1] += tail
    return [line.rstrip() for line in lines]


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _when(condition: str, action: str) -> str:
    return action if condition == "1'h1" else f"if ({condition}) {action}"


def _is_reset(line: _Line) -> bool:
    """Whether it sets one register to a constant on one condition."""
    if not isinstance(line, _If) or len(line.bodies) > 1 or len(line.bodies[0]) > 1:
        return False
    only = line.bodies[0][0]
    return isinstance(only, _Set) and only.value[0].isdigit()


def _merge(lines: list[_Line], more: Iterable[_Line]) -> None:
    """Put the lines of another register into ``lines``, below equal conditions if there are."""
    first = 0
    for line in more:
        place = len(lines)
        if not isinstance(line, _Set):
            place = next((n for n in range(first, place) if _is_like(lines[n], line)), place)
        if place == len(lines):
            lines.append(line)
        else:
            for body, other in zip(_bodies(lines[place]), _bodies(line), strict=True):
                _merge(body, other)
        first = place


def _bodies(line: _Line) -> list[list[_Line]]:
    return [] if isinstance(line, _Set) else line.bodies


def _is_like(one: _Line, other: _Line) -> bool:
    """Whether two choices ask the same."""
    if isinstance(one, _If) and isinstance(other, _If):
        return one.conditions == other.conditions
    return (isinstance(one, _Case) and isinstance(other, _Case) and one.value == other.value
            and one.patterns == other.patterns)


def _expression(lines: Iterable[_Line], name: str, value: str) -> str:
    """What ``name``, which was ``value``, is after the ``lines``; empty if that is not short."""
    for line in lines:
        if isinstance(line, _Case) or (isinstance(line, _Set) and line.target != name):
            return ""
        if isinstance(line, _Set):
            value = line.value
            continue
        results = [_expression(body, name, value) for body in line.bodies]
        if line.conditions[-1]:
            results.append(value)
        if not all(results):
            return ""
        value = results.pop()
        for condition, result in zip(line.conditions[::-1][-len(results):], results[::-1],
                                     strict=True):
            chosen = f"({result})" if "?" in result else result
            value = f"{condition} ? {chosen} : {value}"
        if len(value) > _COLUMNS:
            return ""
    return value


def _render(lines: Iterable[_Line], operator: str) -> Iterator[str]:
    """The text of ``lines``, whose assignments are by ``operator``."""
    for line in lines:
        if isinstance(line, _Set):
            yield f"{line.target} {operator} {line.value};"
        elif isinstance(line, _Case):
            yield f"casez ({line.value})"
            for pattern, body in zip(line.patterns, line.bodies, strict=True):
                yield from _indented(_block(f"{pattern}:", body, operator))
            yield "endcase"
        else:
            for n, (condition, body) in enumerate(zip(line.conditions, line.bodies, strict=True)):
                head = f"if ({condition})" if condition else ""
                yield from _block(f"else {head}".rstrip() if n else head, body, operator)


def _block(head: str, body: Sequence[_Line], operator: str) -> Iterator[str]:
    """``body`` behind ``head``."""
    inner = list(_render(body, operator))
    if len(body) == 1 and isinstance(body[0], _Set) and len(head) + len(inner[0]) < _COLUMNS - 10:
        yield f"{head} {inner[0]}"
    else:
        yield f"{head} begin"
        yield from _indented(inner)
        yield "end"
