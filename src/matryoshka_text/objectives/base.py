"""What every objective is: a section of the recipe that knows which data it reads, and its loss. Imports no torch."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from matryoshka_text.section import Real, Section, Whole

if TYPE_CHECKING:
    from matryoshka_text.nested import NestedLoss
    from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["OWN_BATCH", "Objective", "Stream", "VectorObjective"]

Stream = Literal["pairs", "text", "labelled", "scored"]
OWN_BATCH = "rows of this objective's own global batch, over all processes (null: batch.size)"


class Objective(Section):
    """One of the things that a run minimises. A subclass sets `reads` and narrows `kind` to its own word."""

    reads: ClassVar[Stream]
    """The stream of data whose batches the loss reads."""
    layers: ClassVar[bool] = False
    """Whether layers below the last learn it too, in a recipe with `layers`."""

    kind: str
    weight: Real = Field(default=1.0, gt=0, description="factor of this objective in the sum of all")

    @property
    def own_batch(self) -> Whole | None:
        """Rows of the objective's own global batch; None if it takes `batch.size`."""
        size: int | None = getattr(self, "batch", None)
        return size


class VectorObjective(Objective):
    """An objective on sentence vectors."""

    @abstractmethod
    def loss(self, batch: "GlobalBatch", nesting: "Nesting") -> "NestedLoss":
        """This process's share of the global loss: total with gradient, per dim (of `nesting`) without."""
