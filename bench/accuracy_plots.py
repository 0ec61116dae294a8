"""What plots of accuracies share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"


def finish(axes: Any, label: str, title: str | None = None) -> None:
    """Name the axes, of which ``label`` is that below, and the lines beside them."""
    axes.set_xlabel(label)
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), frameon=False,
                title=title, title_fontsize="small")
