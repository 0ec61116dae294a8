"""What a recipe made of a network, step by step, for people and in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..compiler.dataflow.report import Table, table_of

if TYPE_CHECKING:
    from ..compiler.compress.sizes import LayerSize

__all__ = ["Compression", "Stage"]


@dataclass(frozen=True)
class Stage:
    """What was there behind a step: ``do`` names it, "" is before all.

    ``accuracy`` is that on the images that nothing was trained with; of a float network,
    ``integer_accuracy`` that of the integer network that it becomes. ``epochs`` are loss and
    accuracy of each, while it was trained. ``blocks`` are those that went.
    """

    do: str
    accuracy: float
    integer_accuracy: float
    layers: tuple[LayerSize, ...]
    epochs: tuple[tuple[float, float], ...] = ()
    blocks: tuple[str, ...] = ()

    def total(self, what: str) -> int:
        """The sum over all layers."""
        return sum(getattr(layer, what) for layer in self.layers)

    def json(self) -> dict[str, Any]:
        """What ``penjing compress --json`` prints of it."""
        sums = {what: self.total(what) for what in (
            "weights", "nonzeros", "float_bits", "stored_bits", "coded_bits")}
        return {**asdict(self), **sums}

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> Self:
        """The stage whose fields are ``held``."""
        from ..compiler.compress.sizes import LayerSize

        return cls(held["do"], held["accuracy"], held["integer_accuracy"],
                   tuple(LayerSize(**layer) for layer in held["layers"]),
                   tuple((loss, accuracy) for loss, accuracy in held["epochs"]),
                   tuple(held["blocks"]))


@dataclass(frozen=True)
class Compression:
    """The ``stages`` of a network whose file is ``path`` now, as the ``recipe`` asked."""

    path: Path
    recipe: str
    seed: int
    images: int
    stages: tuple[Stage, ...]

    @property
    def ratio(self) -> float:
        """How many times fewer bits the hardware reads than the floats had at first."""
        return self.stages[0].total("float_bits") / self.stages[-1].total("stored_bits")

    @property
    def coded_ratio(self) -> float:
        """The same of a Huffman-coded file."""
        return self.stages[0].total("float_bits") / self.stages[-1].total("coded_bits")

    def json(self) -> dict[str, Any]:
        """What ``penjing compress --json`` prints."""
        return {"output": str(self.path), "recipe": self.recipe, "seed": self.seed,
                "test_images": self.images, "ratio": self.ratio, "coded_ratio": self.coded_ratio,
                "stages": [stage.json() for stage in self.stages]}

    def table(self) -> Table:
        """The same for people."""
        first = self.stages[0].total("float_bits")
        return table_of(
            f"{self.path}, by the recipe {self.recipe}; times smaller than {first:,} bits of "
            f"floats, accuracy of {self.images:,} images", (
                "step", "accuracy", "as integers", "weights", "not 0", "bits stored",
                "times smaller", "Huffman-coded", "times smaller"), (
                (stage.do or "before", f"{stage.accuracy:.2%}", f"{stage.integer_accuracy:.2%}",
                 f"{stage.total('weights'):,}", f"{stage.total('nonzeros'):,}",
                 f"{stage.total('stored_bits'):,}", f"{first / stage.total('stored_bits'):.1f}",
                 f"{stage.total('coded_bits'):,}", f"{first / stage.total('coded_bits'):.1f}")
                for stage in self.stages))
