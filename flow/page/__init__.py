"""The page of a project: one HTML file that loads nothing."""

from .page import pictures, render

__all__ = ["pictures", "render"]
