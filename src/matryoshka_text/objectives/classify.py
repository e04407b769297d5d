"""Labelled texts: a head over the prefixes names the class."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from matryoshka_text.objectives.base import OWN_BATCH, VectorObjective
from matryoshka_text.section import Real, Whole

if TYPE_CHECKING:
    from matryoshka_text.nested import NestedLoss
    from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["MOST_CLASSES", "Classify"]

MOST_CLASSES = 1_000_000


class Classify(VectorObjective):
    """Classification at every prefix: separate heads (MRL), or one weight matrix cut by columns (MRL-E)."""

    reads = "labelled"

    kind: Literal["classify"] = Field(description="picks this objective; needs a labelled source")
    head: Literal["mrl_e", "mrl"] = Field(
        default="mrl_e", description="mrl_e: one matrix, cut by columns; mrl: a matrix for each dim"
    )
    classes: Whole | None = Field(
        default=None,
        ge=2,
        le=MOST_CLASSES,
        description="labels are whole numbers from 0 to classes - 1 (null: the labels found in the data)",
    )
    scale: Real = Field(default=20.0, gt=0, description="multiplies the unit-length sentence vector; no unit")
    batch: Whole | None = Field(default=None, ge=1, description=OWN_BATCH)

    def loss(self, batch: "GlobalBatch", nesting: "Nesting") -> "NestedLoss":
        """This process's share: the cross-entropy of its own rows, in nats, divided by the rows of the global batch.

        The class of a text at every prefix of its vector, through the batch's head (arXiv:2205.13147, equation 1).
        """
        assert batch.values is not None and batch.head is not None
        mine = slice(batch.first, batch.last)
        return batch.head.loss(batch.student[0, mine], batch.values[mine], nesting, batch.student.shape[1])
