"""The sections that say where texts come from: training sources and held-out sets."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from matryoshka_text.recipe.names import SLUG, Names
from matryoshka_text.recipe.section import Fault, Section, Whole, value_of

__all__ = ["HELD_OUT_ROLES", "SUFFIXES", "TRAINING_ROLES", "Columns", "HeldOut", "HeldOutColumns", "Source"]

SUFFIXES = (".jsonl", ".json", ".json.gz", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")
TRAINING_ROLES: Mapping[str, tuple[str, ...]] = {
    "pairs": ("anchor", "positive"),
    "triplets": ("anchor", "positive", "negatives"),
    "nli": ("premise", "hypothesis", "label"),
}
HELD_OUT_ROLES: Mapping[str, tuple[str, ...]] = {
    "sts": ("sentence1", "sentence2", "score"),
    "pairs": ("anchor", "positive"),
}
_FILE = f"the path of a file ending in {', '.join(SUFFIXES)}"
_HUB = "a data set's id on the hub, owner/name or name"
_COLUMN = "the name of a column"


class _Roles(Section):
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


class Columns(_Roles):
    """The column of each role; a role that is left out is read from the column of its own name."""

    anchor: str | None = _role("pairs, triplets: the text that is matched")
    positive: str | None = _role("pairs, triplets: the text that belongs to the anchor")
    negatives: Names | None = Field(
        default=None,
        description="triplets: the columns of the hard negatives, one text in each, or ONE column whose cells are "
        "lists of texts",
        json_schema_extra={"allowed": "the name of a column, or a list of such names", "default": "`negative`"},
    )
    premise: str | None = _role("nli: the first sentence")
    hypothesis: str | None = _role("nli: the second sentence")
    label: str | None = _role(
        "nli: entailment, neutral or contradiction, or 0, 1, 2 in this order; -1 and '-' (unlabelled) are passed over"
    )


class HeldOutColumns(_Roles):
    """The column of each role; a role that is left out is read from the column of its own name."""

    sentence1: str | None = _role("sts: the first text")
    sentence2: str | None = _role("sts: the second text")
    score: str | None = _role("sts: how alike the two are, a number on any scale")
    anchor: str | None = _role("pairs: the query")
    positive: str | None = _role("pairs: the text that the query should find among all positives")


class _Place(Section):
    """A file or a data set on the hub: exactly one of `file` and `hub`."""

    roles: ClassVar[Mapping[str, tuple[str, ...]]]
    split_default: ClassVar[str]

    name: str = Field(
        pattern=SLUG,
        description="a short name, used in logs and results; every source has its own",
        json_schema_extra={"allowed": "letters, digits, '.', '_' and '-'", "example": "nli"},
    )
    file: str | None = Field(
        default=None,
        description=f"a local file, relative to the recipe's folder: {', '.join(SUFFIXES)}. A .json file is one array "
        "of objects, or lines as in .jsonl",
        json_schema_extra={"allowed": _FILE},
    )
    hub: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+(/[\w.-]+)?$",
        description="a data set's id on the Hugging Face hub",
        json_schema_extra={"allowed": _HUB},
    )
    config: str | None = Field(
        default=None, min_length=1, description="hub only: the configuration (subset) of the data set"
    )
    split: str | None = Field(
        default=None, min_length=1, description="hub only: the split (null: train, or validation for held-out data)"
    )
    revision: str | None = Field(default=None, min_length=1, description="hub only: a branch, tag or commit")
    rows: Whole | None = Field(
        default=None,
        ge=1,
        description="a sample of at most this many examples (null: all); in training drawn by the seed, held-out the "
        "same for every seed",
    )

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """`data` with the columns of its kind and, for the hub, the split filled in."""
        filled = dict(data)
        kind, columns = data.get("kind"), data.get("columns", {})
        if isinstance(kind, str) and kind in cls.roles and isinstance(columns, dict):
            own_names = {role: "negative" if role == "negatives" else role for role in cls.roles[kind]}
            filled["columns"] = {**own_names, **columns}
        if data.get("hub") is not None and data.get("split") is None:
            filled["split"] = cls.split_default
        return filled

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """Faults between file and hub, and between kind and columns."""
        yield from _file_or_hub(found)
        file = found.get("file")
        if isinstance(file, str) and not file.endswith(SUFFIXES):
            yield ("file",), f"found {file!r}; allowed: {_FILE}; convert the file, or rename it to what it holds"
        kind, columns = found.get("kind"), found.get("columns")
        if not isinstance(kind, str) or kind not in cls.roles or columns is None:
            return
        given = columns if isinstance(columns, Mapping) else dict(columns)
        known = Columns.model_fields if cls is Source else HeldOutColumns.model_fields
        for role, column in given.items():
            if column is not None and role in known and role not in cls.roles[kind]:
                allowed = ", ".join(cls.roles[kind])
                yield (
                    ("columns", role),
                    f"found a column for {role!r}, which kind {kind!r} does not have; allowed: {allowed}; "
                    f"remove it, or change the kind",
                )


class Source(_Place):
    """Texts to train on."""

    roles = TRAINING_ROLES
    split_default = "train"

    kind: Literal["pairs", "triplets", "nli"] = Field(
        description="pairs: an anchor and its positive; triplets: hard negatives as well; nli: labelled sentence pairs "
        "turned into triplets (premise, entailed, contradicted; at most 4 of a premise; a premise without both is "
        "passed over)"
    )
    columns: Columns = Field(default=Columns(), description="which column holds what")


class HeldOut(_Place):
    """Texts to evaluate on during training; never trained on."""

    roles = HELD_OUT_ROLES
    split_default = "validation"

    kind: Literal["sts", "pairs"] = Field(
        description="sts: two sentences and a score (Spearman of the cosine); pairs: each anchor looks for its "
        "positive among all positives"
    )
    columns: HeldOutColumns = Field(default=HeldOutColumns(), description="which column holds what")


def _file_or_hub(found: Mapping[str, Any]) -> Iterator[Fault]:
    if "file" not in found or "hub" not in found:
        return
    file, hub = found["file"], found["hub"]
    if file is not None and hub is not None:
        yield ("file",), "found both file and hub; allowed: exactly one of the two; remove one"
    elif file is None and hub is None:
        yield (
            (),
            (
                "found neither file nor hub; allowed: exactly one of the two; write `file: texts.jsonl.gz` "
                "or `hub: owner/name`"
            ),
        )
    elif hub is None:
        for key in ("config", "split", "revision"):
            if value_of(found, key) is not None:
                yield (key,), f"found {found[key]!r} beside file; allowed: only beside hub; remove it"
