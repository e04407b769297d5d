"""The section of a recipe that says how the base's vectors are rotated before anything else is trained."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from matryoshka_text.recipe.sections import repeated_names
from matryoshka_text.recipe.sources import Source
from matryoshka_text.section import Fault, Flag, Real, Section, Whole, items_of, order_of, value_of

__all__ = ["RotationSection", "rotation_dims"]


class RotationSection(Section):
    """An orthogonal matrix after the base's pooling: better prefixes, and full-width cosines as they were.

    It is learned before the objectives, from texts without labels, and exported as a Dense module.
    """

    data: tuple[Source, ...] | None = Field(
        default=None,
        min_length=1,
        description="the texts, one section a source, each of one kind of text; every text column of a source counts "
        "(null: the recipe's own `data`)",
    )
    texts: Whole = Field(
        default=20_000, ge=2, description="the most texts of a source, drawn by the seed; equal texts count once"
    )
    max_characters: Whole = Field(default=400, ge=1, description="texts are cut here before they are encoded")
    dims: tuple[Annotated[Whole, Field(ge=1)], ...] | None = Field(
        default=None,
        min_length=1,
        description="the prefix lengths it is learned for, strictly increasing (null: the recipe's `dims`)",
    )
    start: Literal["within_source", "pooled", "identity"] = Field(
        default="within_source",
        description="the matrix it starts from. within_source: the principal axes of the sources' mean covariance; "
        "pooled: those of all texts together; identity: none",
    )
    anchors: Whole = Field(default=128, ge=2, description="texts of one source in a batch, before their neighbours")
    neighbours: Whole = Field(default=3, ge=1, description="nearest texts of the source that join each anchor")
    temperature: Real = Field(default=0.05, ge=1e-4, description="divides the cosine before and after; no unit")
    steps: Whole = Field(default=400, ge=0, description="steps of Adam on the matrix (0: keep the start)")
    learning_rate: Real = Field(default=2e-3, ge=1e-12, description="the highest learning rate, in radians a step")
    warmup: Whole = Field(default=50, ge=0, description="steps in which the learning rate rises from 0")
    check_every: Whole = Field(
        default=50, ge=1, description="steps between two checks on texts held back; the best matrix is kept"
    )
    held_back: Real = Field(
        default=0.1, ge=0, lt=1, description="share of each source's texts that is only checked on (0: no checks)"
    )
    frozen: Flag = Field(
        default=False,
        description="the objectives leave the matrix as it is (with lora they always do)",
    )

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """Faults of sources (repeated names, mined texts, vectors), and dims that do not increase."""
        sources, dims = items_of(found, "data"), found.get("dims")
        yield from order_of(("dims",), dims if isinstance(dims, list | tuple) else None)
        yield from repeated_names("data", sources)
        for index, source in enumerate(sources):
            if value_of(source, "kind") == "mined":
                yield (
                    ("data", index, "kind"),
                    "found mined, but a rotation needs no pairs; allowed: text, pairs, triplets, nli, labelled or "
                    "scored; write `kind: text`",
                )
            if value_of(source, "vectors") is not None:
                yield (
                    ("data", index, "vectors"),
                    f"found {value_of(source, 'vectors')!r}, but a rotation reads the base's own vectors; "
                    "allowed: null; remove it",
                )


def rotation_dims(section: RotationSection, dims: tuple[int, ...], width: int) -> tuple[int, ...]:
    """The prefix lengths that the rotation is learned for: the section's own or the recipe's `dims`, below `width`."""
    return tuple(dim for dim in (section.dims or dims) if dim < width)
