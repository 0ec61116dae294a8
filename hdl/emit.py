"""Component to Verilog: the only door out of Amaranth."""

from __future__ import annotations

import enum
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

from amaranth.hdl import *
from amaranth.hdl import _ir as ir
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory

from . import verilog
from .block import Block, Sharing
from .tech import Technology

__all__ = ["MEMORIES", "Verilog", "emit", "module_name"]

INLINE_WORDS = 256
"""The most words of a memory whose contents stand in the text: tools read many of them slowly."""

MEMORIES = "memories"
"""The folder of the files of memories, beside that of the text."""
_MACRO = f"""`ifndef {verilog.FOLDER_MACRO}
`define {verilog.FOLDER_MACRO} "{MEMORIES}/"
`endif
"""
"""Where the text looks for these files, unless the user says it."""
_GENERAL = ("_MustUse__", "_Component__")
"""How Amaranth's own attributes of a component begin, which say nothing of what it does."""


def module_name(name: str) -> str:
    """What a module is called that should be called ``name``: not as a port of it."""
    return f"{name}_" if name in ("clk", "rst") else name


@dataclass(frozen=True)
class Verilog:
    """SystemVerilog ``text``, and the contents of its large memories: hex files, by their names.

    The text reads the files with ``$readmemh`` from the folder `MEMORIES` of the current one, or
    from that which the macro ``PENJING_MEMORIES`` names, which then ends in a slash.
    """

    text: str
    files: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path, name: str) -> None:
        """Write the text to the file ``name`` in ``folder``, and the memories beside it."""
        (folder / name).write_text(self.text, encoding="utf-8")
        if self.files:
            (folder / MEMORIES).mkdir()
        for file, contents in self.files.items():
            (folder / MEMORIES / file).write_text(contents, encoding="utf-8")

    def renamed(self, module: str, name: str) -> Verilog:
        """The same with ``module``, of which there is no instance in it, called ``name``."""
        start, heading, rest = self.text.partition(f"module {verilog.identifier(module)}(")
        return replace(self, text=f"{start}module {verilog.identifier(name)}({rest}"
                       if heading else self.text)

    @classmethod
    def read(cls, path: Path) -> Verilog:
        """The text in the file ``path``, and the memories beside it."""
        text = path.read_text(encoding="utf-8")
        files = re.findall(r'`PENJING_MEMORIES, "(\w+\.hex)"', text)
        return cls(text, {file: (path.parent / MEMORIES / file).read_text(encoding="utf-8")
                          for file in files})


def emit(component: wiring.Component, name: str, *, inline_memories: bool = False) -> Verilog:
    """``component`` as module ``name``; the same text from run to run, wherever Penjing is.

    Equal blocks are instances of one module, elaborated and written once. Contents of large
    memories are in files of their own unless ``inline_memories``.
    """
    return _Emission(name, inline_memories).run(component)


class _Emission(Sharing):
    """The platform of one emission: what was emitted so far."""

    def __init__(self, name: str, inline_memories: bool) -> None:
        self._name = name
        self._inline_memories = inline_memories
        self._current: list[tuple[wiring.Component, str]] = []
        self._shared: dict[object, tuple[str, frozenset[str]]] = {}
        self._uses: dict[str, int] = {}
        self._memories: list[verilog.Memory] = []
        self._texts: list[str] = []
        self._files: dict[str, str] = {}

    def run(self, component: wiring.Component) -> Verilog:
        """Emit ``component`` and all in it."""
        self._convert(component, self._name)
        head = [_MACRO] if self._files else []
        return Verilog("\n".join([*head, *reversed(self._texts)]), self._files)

    def instance(self, block: Block) -> Instance | None:
        """An instance of the module that ``block`` shares with all that equal it."""
        if block is self._current[-1][0]:
            return None
        key = identity(block)
        if key not in self._shared:
            name = self._new(f"{self._name}${_snake(type(block).__name__)}")
            self._shared[key] = name, self._convert(block, name)
        else:
            _spare(block)
        name, ports = self._shared[key]
        values = [("i" if member.flow == wiring.In else "o", "__".join(map(str, path)), value)
                  for path, member, value in block.signature.flatten(block)]
        values += [("i", "clk", ClockSignal()), ("i", "rst", ResetSignal())]
        return Instance(name, *(value for value in values if value[1] in ports))

    def get_memory(self, memory: Memory) -> Instance:
        """What Amaranth asks a platform for: here an instance that is written as an array."""
        ports: list[tuple[str, str, Any]] = [("i", "clk", ClockSignal())]
        for n, write in enumerate(memory.write_ports):
            word = Value.cast(write.data)
            bits = len(word) // len(write.en)
            for k, enable in enumerate(write.en):
                part = word[k * bits:(k + 1) * bits] if bits < len(word) else word
                ports += [("i", f"write_{n}_{k}_{name}", value) for name, value in
                          (("addr", write.addr), ("data", part), ("en", enable))]
        for n, read in enumerate(memory.read_ports):
            if read.transparent_for:
                raise ValueError("a read port of a memory must not be transparent")
            ports += [("i", f"read_{n}_addr", read.addr), ("o", f"read_{n}_data", read.data)]
            if read.domain != "comb":
                ports.append(("i", f"read_{n}_en", read.en))
        width, words = Shape.cast(memory.shape).width, tuple(memory.init)
        if memory.write_ports and not any(words):
            words = ()  # nothing is to be read that was not written
        file = ""
        if len(words) > INLINE_WORDS and not self._inline_memories:
            file = self._new(self._current[-1][1].replace("$", "_")) + ".hex"
            self._files[file] = _hex_words(words, width)
        self._memories.append(verilog.Memory(width, memory.depth, words, file, memory.attrs))
        return Instance(verilog.MEMORY, ("p", "ID", len(self._memories) - 1), *ports)

    def _convert(self, component: wiring.Component, name: str) -> frozenset[str]:
        """Write module ``name`` of ``component``; its ports, without those that have no bits."""
        self._current.append((component, name))
        whole = ir.Fragment.get(component, self)
        self._current.pop()
        ports = {}
        for path, member, value in component.signature.flatten(component):
            direction = (ir.PortDirection.Input if member.flow == wiring.In
                         else ir.PortDirection.Output)
            if not isinstance(value, Const):  # the ready of a stream that is always so
                ports["__".join(map(str, path))] = Value.cast(value), direction
        design = whole.prepare(ports, hierarchy=(name,))
        if not self._current and all(port != "clk" for port, *_ in design.ports):
            # Who instantiates the whole need not know that it is only wiring.
            unused = {port: (Signal(), ir.PortDirection.Input) for port in ("clk", "rst")}
            design = whole.prepare({**ports, **unused}, hierarchy=(name,))
        self._texts += reversed(verilog.write(design, self._memories))
        return frozenset(port for port, signal, _ in design.ports if len(signal))

    def _new(self, name: str) -> str:
        """``name``, with a number behind it if there is one already."""
        self._uses[name] = self._uses.get(name, 0) + 1
        return name if self._uses[name] == 1 else f"{name}_{self._uses[name]}"


def identity(value: object) -> object:
    """What equal blocks have in common: class, signature and attributes, all the way down.

    It can be compared and hashed. A value that does not tell what it equals, equals nothing.
    """
    if isinstance(value, wiring.Component):
        members = [(path, member.flow, identity(member.shape), member.init)
                   for path, member, _ in value.signature.flatten(value)]
        own = {name: attribute for name, attribute in vars(value).items()
               if not name.startswith(_GENERAL) and name not in value.signature.members}
        return type(value), tuple(members), identity(own)
    if value is None or isinstance(value, (bool, int, float, str, bytes, enum.Enum, type)):
        return type(value), value
    if isinstance(value, (list, tuple)):
        if all(type(item) is int for item in value):
            return int, *value
        return type(value), *map(identity, value)
    if isinstance(value, Mapping):
        return dict, *((key, identity(item)) for key, item in value.items())
    if isinstance(value, Shape):
        return Shape, value.width, value.signed
    if isinstance(value, range):  # not as a shape: it may say which elements
        return range, value.start, value.stop, value.step
    if isinstance(value, data.Layout):
        return type(value), value.size, tuple(
            (key, part.offset, identity(part.shape)) for key, part in value)
    if isinstance(value, Technology) or is_dataclass(value):
        return type(value), identity(vars(value))
    return value if isinstance(value, Hashable) and not isinstance(value, Value) else object()


def _spare(block: wiring.Component) -> None:
    """Let Amaranth not complain of the components in ``block``, which are never elaborated."""
    for part in vars(block).values():
        if isinstance(part, wiring.Component):
            part._MustUse__used = True
            _spare(part)


def _hex_words(words: Iterable[int], width: int) -> str:
    """The ``words`` as ``$readmemh`` takes them, one a line."""
    digits = -(-width // 4)
    return "".join(f"{word:0{digits}x}\n" for word in words)


def _snake(name: str) -> str:
    """``RowMultiplier`` as ``row_multiplier``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
