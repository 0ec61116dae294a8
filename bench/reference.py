"""The public names of `penjing` as Markdown: signatures and docstrings, as the source has them.

It is the table ``reference`` of `tables`, which docs/python.md holds.
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from typing import Any

import penjing
from penjing.compiler import file
from penjing.compiler.ir import PenjingError

GROUPS = {
    "compiler.ir": "Networks, tensors and weights",
    "layers": "Layers",
    "compiler.load.arrays": "Plain arrays",
    "compiler.file": "Files",
    "sim.golden": "The golden model",
    "compiler.dataflow": "Plans",
    "flow": "The steps of the command line",
    "host": "The board",
}
"""The sections, by the modules whose names they hold; layers are apart."""


def names() -> str:
    """All public names, section by section."""
    parts = []
    for home, title in GROUPS.items():
        found = [name for name in penjing.__all__ if name != "__version__" and _home(name) == home]
        parts.append(f"### {title}")
        for name in found:
            parts += _entry(name, getattr(penjing, name))
    return "\n\n".join(parts)


def _home(name: str) -> str:
    """Under which key of `GROUPS` the name stands."""
    if getattr(penjing, name) in file.LAYERS:
        return "layers"
    module = getattr(penjing, name).__module__.removeprefix("penjing.")
    for home in GROUPS:
        if f"{module}.".startswith(f"{home}."):
            return home
    raise PenjingError(f"{name}: its module {module} has no section; name one in GROUPS")


def _entry(name: str, thing: Any) -> Iterator[str]:
    yield f"#### `penjing.{name}`"
    if inspect.isclass(thing) and issubclass(thing, enum.Enum):
        yield f"One of {', '.join(f'`{name}.{member.name}`' for member in thing)}."
    elif not (inspect.isclass(thing) and issubclass(thing, Exception)):
        yield f"`{name}{_signature(thing)}`"
    yield markdown(inspect.getdoc(thing) or "")
    if inspect.isclass(thing) and thing not in file.LAYERS and not issubclass(thing, enum.Enum):
        members = "\n".join(_members(thing))
        if members:
            yield members


def _signature(thing: Any) -> str:
    """Parameters with their defaults, without annotations."""
    parameters = [one.replace(annotation=one.empty, default=_default(one.default))
                  for one in inspect.signature(thing).parameters.values() if one.name != "self"]
    return str(inspect.Signature(parameters))


def _default(value: Any) -> Any:
    """A default as a person writes it: functions, members and factories by their names."""
    if isinstance(value, tuple) and value and isinstance(value[0], enum.Enum):
        return _Named(f"({', '.join(str(member) for member in value)})")
    if isinstance(value, enum.Enum):
        return _Named(str(value))
    if callable(value) and value is not inspect.Parameter.empty:
        return _Named(value.__name__)
    return _Named("…") if type(value).__name__ == "_HAS_DEFAULT_FACTORY_CLASS" else value


class _Named:
    """What prints as its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def _members(thing: type) -> Iterator[str]:
    """Public methods and properties, each with the first paragraph of its docstring."""
    for name, member in vars(thing).items():
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        call = "" if isinstance(member, property) else _signature(getattr(thing, name))
        first = (inspect.getdoc(function) or "").partition("\n\n")[0]
        yield f"- `{name}{call}`: {' '.join(markdown(first).split())}"


def markdown(text: str) -> str:
    """A docstring as Markdown."""
    text = re.sub(r"^Parameters\n-+\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^(\w+) : ", r"- `\1`: ", text, flags=re.MULTILINE)
    return re.sub(r"``(.*?)``", r"`\1`", text, flags=re.DOTALL).replace("::\n", ":\n")
