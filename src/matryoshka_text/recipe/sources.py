"""The sections that say where texts come from: training sources and held-out sets."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from matryoshka_text.objectives import Stream
from matryoshka_text.reading.files import PLAIN_SUFFIXES, TABLE_SUFFIXES, is_plain, may_be_folder
from matryoshka_text.recipe.columns import HELD_OUT_ROLES, TRAINING_ROLES, Columns, HeldOutColumns, Roles
from matryoshka_text.recipe.names import SLUG
from matryoshka_text.recipe.prompts import Prompts
from matryoshka_text.section import Fault, Real, Section, Whole, value_of

__all__ = [
    "HELD_OUT_ROLES",
    "TRAINING_ROLES",
    "Columns",
    "HeldOut",
    "HeldOutColumns",
    "Neighbours",
    "Source",
    "prompt_names",
    "stream_of",
]
_STREAM_OF: Mapping[str, Stream] = {"text": "text", "labelled": "labelled", "scored": "scored"}
_PLAIN_KINDS = ("text", "mined")  # one text a row, which a line of a plain file can hold
_FILE = f"the path of a file ending in {', '.join(TABLE_SUFFIXES)}"
_HUB = "a data set's id on the hub, owner/name or name"


def stream_of(kind: str) -> Stream:
    """The stream that a source of that kind belongs to: pairs, text, labelled or scored."""
    return _STREAM_OF.get(kind, "pairs")


def prompt_names(section: "Source | HeldOut", columns: int) -> tuple[str | None, ...]:
    """The name of the prompt of each of a section's `columns` of texts; None: the one that `encode` uses."""
    return section.prompts.names(section.roles[section.kind], columns)


class Neighbours(Section):
    """Which of a mined source's texts make pairs: each text with its nearest, by the starting model's own vectors."""

    count: Whole = Field(default=1, ge=1, description="how many nearest neighbours each text is paired with")
    lowest: Real | None = Field(
        default=None, ge=-1, le=1, description="the lowest cosine at full width that makes a pair (null: any)"
    )


class _Place(Section):
    """A file or a data set on the hub: exactly one of `file` and `hub`."""

    roles: ClassVar[Mapping[str, tuple[str, ...]]]
    split_default: ClassVar[str]
    columns_of: ClassVar[type[Roles]]

    name: str = Field(
        pattern=SLUG,
        description="a short name, used in logs and results; every source has its own",
        json_schema_extra={"allowed": "letters, digits, '.', '_' and '-'", "example": "nli"},
    )
    file: str | None = Field(
        default=None,
        description=f"a local file, relative to the recipe's folder: {', '.join(TABLE_SUFFIXES)}. A .json file is one "
        "array of objects, also below a key `data`, or lines as in .jsonl. Or a folder that save_to_disk of the "
        "datasets library wrote. Kinds text and mined also read "
        f"{' and '.join(PLAIN_SUFFIXES)}: one text a line, blank lines passed over",
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
    prompts: Prompts = Field(default=Prompts(), description="which of the base's prompts each column's texts get")

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """`data` with the columns of its kind and, for the hub, the split filled in."""
        filled = dict(data)
        kind, columns = data.get("kind"), data.get("columns", {})
        known = isinstance(kind, str) and kind in cls.roles
        if known and isinstance(columns, dict) and not (kind in _PLAIN_KINDS and is_plain(data.get("file"))):
            own_names = {role: "negative" if role == "negatives" else role for role in cls.roles[str(kind)]}
            filled["columns"] = {**own_names, **columns}
        if data.get("hub") is not None and data.get("split") is None:
            filled["split"] = cls.split_default
        return filled

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """Faults between file and hub, between kind and file, and between kind and columns."""
        yield from _file_or_hub(found)
        kind, file = found.get("kind"), found.get("file")
        known = isinstance(kind, str) and kind in cls.roles
        if isinstance(file, str):
            yield from _suffix(file, str(kind) if known else None, cls.roles)
        if known:
            yield from cls._columns(str(kind), file, found.get("columns"))
            yield from cls._prompts(str(kind), found.get("prompts"))

    @classmethod
    def _prompts(cls, kind: str, prompts: Any) -> Iterator[Fault]:
        given = prompts if isinstance(prompts, Mapping) else dict(prompts or ())
        roles = Prompts.roles(cls.roles[kind])
        for role, name in given.items():
            if name is None or role not in Prompts.model_fields:
                continue
            if kind == "labelled":
                yield (
                    ("prompts", role),
                    f"found {name!r} for kind 'labelled', whose class head reads what `encode` gives; allowed: none; "
                    f"write `base: {{default_prompt_name: {name}}}`, which is saved with the model",
                )
            elif role not in roles:
                yield (
                    ("prompts", role),
                    f"found a prompt for {role!r}, which kind {kind!r} does not have; allowed: {', '.join(roles)}; "
                    "remove it, or change the kind",
                )

    @classmethod
    def _columns(cls, kind: str, file: Any, columns: Any) -> Iterator[Fault]:
        if columns is None:
            return
        given = columns if isinstance(columns, Mapping) else dict(columns)
        plain = kind in _PLAIN_KINDS and is_plain(file)
        for role, column in given.items():
            if column is None or role not in cls.columns_of.model_fields:
                continue
            if plain:
                yield (
                    ("columns", role),
                    f"found a column for {role!r} of a plain text file; allowed: none, a line is one text; remove it",
                )
            elif role not in cls.roles[kind]:
                yield (
                    ("columns", role),
                    f"found a column for {role!r}, which kind {kind!r} does not have; "
                    f"allowed: {', '.join(cls.roles[kind])}; remove it, or change the kind",
                )


class Source(_Place):
    """Texts to train on."""

    roles = TRAINING_ROLES
    split_default = "train"
    columns_of = Columns

    kind: Literal["pairs", "triplets", "nli", "mined", "text", "labelled", "scored"] = Field(
        description="pairs: an anchor and its positive; triplets: hard negatives as well; nli: labelled sentence pairs "
        "turned into triplets (premise, entailed, contradicted; at most 4 of a premise; a premise without both is "
        "passed over); mined: single texts, each paired with its nearest by the starting model's own vectors; "
        "text: plain text for masked-language modelling; labelled: a text and its class; scored: two texts and a score"
    )
    columns: Columns = Field(default=Columns(), description="which column holds what")
    vectors: str | None = Field(
        default=None,
        description="pairs, triplets: a .safetensors file with a teacher's vectors of this source's texts, one tensor "
        "per text column named anchor, positive, negative_0, …; one row per example in file order, before `rows` takes "
        "its sample. Numbers are float32, float16, bfloat16 or int8: only directions count",
        json_schema_extra={"allowed": "the path of a .safetensors file"},
    )
    neighbours: Neighbours | None = Field(
        default=None, description="mined: how the pairs are found (null: the defaults for mined, none for other kinds)"
    )

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """`data` with its columns, its split and, for mined, the neighbours filled in."""
        filled = super().prepared(data)
        if data.get("kind") == "mined" and data.get("neighbours") is None:
            filled["neighbours"] = {}
        return filled

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """Faults as of every place, and those of keys that only some kinds have."""
        yield from super().across(found)
        kind, vectors = found.get("kind"), found.get("vectors")
        if not isinstance(kind, str) or kind not in cls.roles:
            return
        if vectors is not None and kind not in ("pairs", "triplets"):
            yield (
                ("vectors",),
                f"found {vectors!r} for kind {kind!r}; allowed: only for kinds pairs and triplets, whose examples are "
                "the rows of the file; remove it, or write the examples down as pairs or triplets",
            )
        elif isinstance(vectors, str) and not vectors.endswith(".safetensors"):
            yield (
                ("vectors",),
                f"found {vectors!r}; allowed: the path of a .safetensors file; save the vectors with safetensors",
            )
        if found.get("neighbours") is not None and kind != "mined":
            yield (
                ("neighbours",),
                f"found a section for kind {kind!r}; allowed: only for kind mined; remove it, or change the kind",
            )


class HeldOut(_Place):
    """Texts to evaluate on during training; never trained on."""

    roles = HELD_OUT_ROLES
    split_default = "validation"
    columns_of = HeldOutColumns

    kind: Literal["sts", "pairs", "labelled", "text"] = Field(
        description="sts: two sentences and a score (Spearman of the cosine); pairs: each anchor looks for its "
        "positive among all positives; labelled: a text and its class (accuracy of the trained class head); "
        "text: plain text (accuracy at masked tokens)"
    )
    columns: HeldOutColumns = Field(default=HeldOutColumns(), description="which column holds what")


def _suffix(file: str, kind: str | None, kinds: Iterable[str]) -> Iterator[Fault]:
    """The fault of a file that cannot be read, or not as this one of `kinds` (None: a kind that is wrong itself)."""
    if file.endswith(TABLE_SUFFIXES) or may_be_folder(file) or (is_plain(file) and kind in (None, *_PLAIN_KINDS)):
        return
    beside = f" for kind {kind!r}" if is_plain(file) else ""
    plain = [one for one in kinds if one in _PLAIN_KINDS] if is_plain(file) or kind in _PLAIN_KINDS else []
    also = f"; for kind {' or '.join(plain)} also {', '.join(PLAIN_SUFFIXES)}" if plain else ""
    yield (
        ("file",),
        f"found {file!r}{beside}; allowed: {_FILE}{also}; convert the file, or rename it to what it holds",
    )


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
                yield (key,), f"found {found[key]!r} next to file; allowed: only next to hub; remove it"
