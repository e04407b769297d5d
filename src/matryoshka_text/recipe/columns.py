"""Which column of a source or a held-out set holds what."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from matryoshka_text.recipe.names import Names
from matryoshka_text.section import Section

__all__ = ["HELD_OUT_ROLES", "TRAINING_ROLES", "Columns", "HeldOutColumns", "Roles"]

TRAINING_ROLES: Mapping[str, tuple[str, ...]] = {
    "pairs": ("anchor", "positive"),
    "triplets": ("anchor", "positive", "negatives"),
    "nli": ("premise", "hypothesis", "label"),
    "mined": ("text",),
    "text": ("text",),
    "labelled": ("text", "label"),
    "scored": ("sentence1", "sentence2", "score"),
}
HELD_OUT_ROLES: Mapping[str, tuple[str, ...]] = {
    "sts": ("sentence1", "sentence2", "score"),
    "pairs": ("anchor", "positive"),
    "labelled": ("text", "label"),
    "text": ("text",),
}
_COLUMN = "the name of a column"


class Roles(Section):
    """Column names by role; a role of another kind is None and is left out of a dump."""

    @model_serializer(mode="wrap")
    def _given_only(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {role: column for role, column in handler(self).items() if column is not None}


def _role(description: str, allowed: str = _COLUMN) -> Any:
    return Field(
        default=None,
        min_length=1,
        description=description,
        json_schema_extra={"allowed": allowed, "default": "the role's name"},
    )


class Columns(Roles):
    """The column of each role; a role that is left out is read from the column of its own name."""

    anchor: str | None = _role("pairs, triplets: the text that is matched")
    positive: str | None = _role(
        "pairs, triplets: the text that belongs to the anchor, or a list of such texts, each of which makes an example"
    )
    negatives: Names | None = Field(
        default=None,
        description="triplets: the columns of the hard negatives, one text in each, or ONE column whose cells are "
        "lists of texts. Every example gets as many as most of the first 1,000 have: of more the first ones, and where "
        "there are fewer (an empty cell, a short list) also some of other rows",
        json_schema_extra={"allowed": "the name of a column, or a list of such names", "default": "`negative`"},
    )
    premise: str | None = _role("nli: the first sentence")
    hypothesis: str | None = _role("nli: the second sentence")
    text: str | None = _role("mined, text, labelled: the text")
    label: str | None = _role(
        "nli: entailment, neutral or contradiction, or 0, 1, 2 in this order; -1 and '-' (unlabelled) are passed over. "
        "labelled: the text's class, a name or a whole number"
    )
    sentence1: str | None = _role("scored: the first text")
    sentence2: str | None = _role("scored: the second text")
    score: str | None = _role("scored: how alike the two are, a number on any scale")


class HeldOutColumns(Roles):
    """The column of each role; a role that is left out is read from the column of its own name."""

    sentence1: str | None = _role("sts: the first text")
    sentence2: str | None = _role("sts: the second text")
    score: str | None = _role("sts: how alike the two are, a number on any scale")
    anchor: str | None = _role("pairs: the query")
    positive: str | None = _role(
        "pairs: the text that the query should find among all positives, or a list of such texts"
    )
    text: str | None = _role("labelled, text: the text")
    label: str | None = _role("labelled: the text's class, a name or a whole number, one that training rows have too")
