"""HTML and SVG as trees of elements, so that every text is escaped where it is written out."""

from __future__ import annotations

from importlib.resources import files
from typing import TypeAlias
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

__all__ = ["Child", "Element", "element", "html", "picture", "style"]

_MARGIN = 16
"""Of a picture's sheet."""

Child: TypeAlias = "Element | str | int | None"


def element(tag: str, *children: Child, **attributes: object) -> Element:
    """A ``tag`` with its ``children``; None is no child, and an attribute of None is none.

    An underscore behind a name is dropped (``class_``), one within is a hyphen.
    """
    made = Element(tag, {name.rstrip("_").replace("_", "-"): str(value)
                         for name, value in attributes.items() if value is not None})
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif child is not None and last is None:
            made.text = (made.text or "") + str(child)
        elif child is not None and last is not None:
            last.tail = (last.tail or "") + str(child)
    return made


def style() -> str:
    """The style sheet of pages and pictures."""
    return files(__package__).joinpath("style.css").read_text(encoding="utf-8")


def html(page: Element) -> str:
    """The document of the element ``page``."""
    return "<!DOCTYPE html>\n" + ElementTree.tostring(page, "unicode", method="html") + "\n"


def picture(drawing: Element) -> str:
    """An SVG file of ``drawing``, which has a view box, on a sheet of its own."""
    width, height = (int(size) + 2 * _MARGIN for size in drawing.attrib["viewBox"].split()[2:])
    attributes = {**drawing.attrib, "xmlns": "http://www.w3.org/2000/svg", "width": str(width),
                  "height": str(height), "viewBox": f"{-_MARGIN} {-_MARGIN} {width} {height}"}
    whole = Element("svg", attributes)
    whole.append(element("style", style()))
    whole.append(element("rect", x=-_MARGIN, y=-_MARGIN, width=width, height=height, rx=_MARGIN,
                         fill="var(--card)"))
    whole.extend(drawing)
    return ElementTree.tostring(whole, "unicode") + "\n"
