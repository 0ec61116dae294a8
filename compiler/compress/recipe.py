"""Recipes: what is done to a network to make it small, step by step, in a TOML file.

A file holds what its steps share, and a table for each of them::

    seed = 1
    batch = 128

    [[step]]
    do = "prune"
    ratio = 0.9
    epochs = 10

    [[step]]
    do = "share"
    codes = 16
    epochs = 2
    distil = 0.9

The keys of a step are the fields of its class in `steps`, and of `Step`. One that stands at the top
of the file is the default of all steps that have it.
"""

from __future__ import annotations

import enum
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from ..ir import PenjingError
from .steps import STEPS, Blocks, Share, Step, Train

__all__ = ["Recipe", "names", "parse", "read"]

MAX_BYTES = 1 << 20
"""The longest file that is read."""
_WAY_OUT = "see docs/compress.md"
_SHOWN = 40
"""Characters of a value in a message."""


@dataclass(frozen=True)
class Recipe:
    """Some ``steps``, one behind the other; all that is drawn at random depends on ``seed``.

    `PenjingError` where weights are to be removed that are shared already: `Share` comes last; for
    blocks that are named where others went before; and for a seed that is none.
    """

    steps: tuple[Step, ...]
    seed: int = 1
    about: str = ""

    def __post_init__(self) -> None:
        if type(self.seed) is not int or not 0 <= self.seed < 1 << 31:
            raise PenjingError(f"seed must be an integer from 0 to 2**31 - 1, not "
                               f"{_shown(self.seed)}")
        shared = shortened = False
        zeros = 0
        for number, step in enumerate(self.steps, 1):
            if isinstance(step, Blocks):
                if shortened and step.names:
                    raise PenjingError(f"step {number}: the blocks that are left have other names "
                                       f"behind one that went; name all of them in one step")
                shortened = True
            if shared and not isinstance(step, Train):
                raise PenjingError(f"step {number}: {step.do} comes behind share; only train can, "
                                   f"since shared weights move together")
            shared |= isinstance(step, Share)
            if zeros and step.fits_anew:
                raise PenjingError(f"step {number}: {step.do} fits weights anew, and what step "
                                   f"{zeros} sets to 0 would not stay so; let it come first")
            zeros = number if step.zeros else zeros


def names() -> list[str]:
    """The recipes that come with Penjing."""
    return sorted(one.name.removesuffix(".toml") for one in _folder().iterdir()
                  if one.name.endswith(".toml"))


def read(name: str | Path) -> Recipe:
    """The recipe in a file, or one that comes with Penjing, by its name.

    `PenjingError` says in one line what is wrong with it.
    """
    path = Path(name)
    if path.suffix != ".toml" and str(name) in names():
        return parse((_folder() / f"{name}.toml").read_text(), str(name))
    try:
        with open(path, "rb") as opened:
            held = opened.read(MAX_BYTES + 1)
        # Editors put a mark in front of UTF-8.
        text = held.decode("utf-8-sig")
    except OSError as error:
        raise PenjingError(f"{path}: no recipe can be read ({error.strerror}); give a TOML file, "
                           f"or one of {', '.join(names())}") from None
    except ValueError:
        raise PenjingError(f"{path}: no recipe can be read, since it is no UTF-8 text; give a TOML "
                           f"file, or one of {', '.join(names())}") from None
    if len(held) > MAX_BYTES:
        raise PenjingError(f"{path}: a recipe has {MAX_BYTES >> 20} MiB at most; shorten it")
    return parse(text, str(path))


def _folder() -> Any:
    return resources.files(__package__) / "recipes"


def parse(text: str, origin: str) -> Recipe:
    """The recipe ``text``, which errors call ``origin``."""
    try:
        held = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # Python reads no integers of thousands of digits
        raise PenjingError(f"{origin}: no TOML ({error}); {_WAY_OUT}") from None
    tables = held.pop("step", None)
    if not isinstance(tables, list) or not tables or not all(
            isinstance(table, dict) for table in tables):
        raise PenjingError(f"{origin}: a recipe has a table [[step]] for each step; {_WAY_OUT}")
    own = {name: held.pop(name) for name in ("seed", "about") if name in held}
    shared = {one.name for kind in STEPS.values() for one in fields(kind)}
    for key in held:
        if key not in shared:
            raise PenjingError(f"{origin}: {_shown(key)} is no key of a recipe; there are seed, "
                               f"about, step, and defaults: {', '.join(sorted(shared))}")
    if not isinstance(own.get("about", ""), str):
        raise PenjingError(f"{origin}: about must be text, not {_shown(own['about'])}")
    steps = tuple(_step(table, held, f"{origin}: step {number}")
                  for number, table in enumerate(tables, 1))
    for key in held:
        if all(key not in {one.name for one in fields(step)} for step in steps):
            raise PenjingError(f"{origin}: {key} is a default of no step here; take it away")
    try:
        return Recipe(steps, **own)
    except PenjingError as error:
        raise PenjingError(f"{origin}: {error}") from None


def _step(table: dict[str, Any], shared: Mapping[str, Any], where: str) -> Step:
    """The step that ``table`` describes."""
    do = table.pop("do", None)
    if not isinstance(do, str) or do not in STEPS:
        raise PenjingError(f"{where}: do must be one of {', '.join(STEPS)}, not {_shown(do)}")
    kind = STEPS[do]
    known = {one.name: one for one in fields(kind)}
    for key in table:
        if key not in known:
            raise PenjingError(f"{where}: {_shown(key)} is no key of {do}; there are "
                               f"{', '.join(known)}")
    hints = typing.get_type_hints(kind)
    given = {**{key: value for key, value in shared.items() if key in known}, **table}
    try:
        return kind(**{key: _value(known[key], hints[key], value) for key, value in given.items()})
    except PenjingError as error:
        raise PenjingError(f"{where}: {error}") from None


def _value(one: Field[Any], hint: Any, value: Any) -> Any:
    """``value`` as the field ``one`` of type ``hint`` takes it."""
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        choices = {choice.value: choice for choice in hint}
        if not isinstance(value, str) or value not in choices:
            raise PenjingError(f"{one.name} must be one of {', '.join(choices)}, not "
                               f"{_shown(value)}")
        return choices[value]
    if isinstance(hint, types.UnionType):
        (hint,) = (of for of in typing.get_args(hint) if of is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise PenjingError(f"{one.name} must be a list of names, not {_shown(value)}")
        return tuple(_scalar(one.name, str, name) for name in value)
    if typing.get_origin(hint) is not None:
        (_, of) = typing.get_args(hint)
        if not isinstance(value, dict):
            raise PenjingError(f"{one.name} must be a table of layers such as {{ conv1 = "
                               f"{0.5 if of is float else 16} }}, not {_shown(value)}")
        for name, inner in value.items():
            if isinstance(inner, dict) and inner:  # a.b = 1 is a = { b = 1 }
                raise PenjingError(f"{one.name}: {_called(name)}.{_called(next(iter(inner)))} has "
                                   f"a dot; layers' names have _ where PyTorch's have one")
        return {name: _scalar(f"{one.name}.{_called(name)}", of, number)
                for name, number in value.items()}
    return _scalar(one.name, hint, value)


def _scalar(name: str, kind: type, value: Any) -> Any:
    """``value`` as ``kind``; an integer is a float, too, but no boolean is a number."""
    fits = type(value) is kind or (kind is float and type(value) is int)
    # TOML's integers have 64 bits; those of Python may be too large for a float.
    if not fits or (type(value) is int and not -1 << 63 <= value < 1 << 63) or (
            kind is float and not math.isfinite(value)):
        what = {int: "an integer", float: "a number", bool: "true or false", str: "text"}[kind]
        raise PenjingError(f"{name} must be {what}, not {_shown(value)}")
    return kind(value)


def _called(name: str) -> str:
    """A ``name`` that somebody gave, as a message may show it."""
    return name if name.isprintable() and len(name) <= _SHOWN else _shown(name)


def _shown(value: object) -> str:
    """The beginning of ``value`` in Python's notation, or its type, if it has no end there."""
    try:
        return repr(value)[:_SHOWN]
    except (ValueError, RecursionError):  # integers of thousands of digits, tables in tables
        return f"that {type(value).__name__}"
