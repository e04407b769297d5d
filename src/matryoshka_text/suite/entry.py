"""One task of a suite: a task or a benchmark of mteb, an own set, or a text to mask."""

from pathlib import Path
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from matryoshka_text.reading.files import PLAIN_SUFFIXES, TABLE_SUFFIXES

__all__ = ["KINDS", "OWN_KINDS", "ROLES", "Kind", "Section", "TaskEntry"]

Kind = Literal[
    "task",
    "benchmark",
    "retrieval",
    "classification",
    "clustering",
    "pair_classification",
    "reranking",
    "sts",
    "masked_text",
]
# What each kind is, in words.
KINDS: dict[Kind, str] = {
    "task": "a task of mteb",
    "benchmark": "all tasks of a benchmark of mteb",
    "retrieval": "a folder in BEIR layout",
    "classification": "a labelled set",
    "clustering": "a labelled set",
    "pair_classification": "labelled pairs",
    "reranking": "labelled pairs of query and document",
    "sts": "scored pairs",
    "masked_text": "a .txt or .txt.gz file, one text a line",
}
# The columns of an own set, by the names that `columns` gives them.
ROLES: dict[Kind, tuple[str, ...]] = {
    "classification": ("text", "label"),
    "clustering": ("text", "label"),
    "pair_classification": ("sentence1", "sentence2", "label"),
    "reranking": ("query", "document", "label"),
    "sts": ("sentence1", "sentence2", "score"),
}
OWN_KINDS: tuple[Kind, ...] = ("retrieval", *ROLES)

_OPTIONS: dict[Kind, tuple[str, ...]] = {
    "task": ("split", "languages", "subsets"),
    "benchmark": ("languages",),
    "retrieval": ("split", "name", "languages"),
    "classification": ("split", "name", "languages", "columns"),
    "clustering": ("split", "name", "languages", "columns"),
    "pair_classification": ("split", "name", "languages", "columns", "positive"),
    "reranking": ("split", "name", "languages", "columns", "positive"),
    "sts": ("split", "name", "languages", "columns"),
    "masked_text": ("name", "share", "max_length", "seed"),
}


class Section(BaseModel):
    """A frozen and strict part of a suite: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TaskEntry(Section):
    """One entry of a suite's `tasks`: exactly one of the kinds, and options of that kind."""

    task: str | None = Field(default=None, min_length=1, description="a task of mteb")
    benchmark: str | None = Field(default=None, min_length=1, description="a benchmark of mteb: all its tasks")
    retrieval: str | None = Field(default=None, min_length=1, description="a folder in BEIR layout")
    classification: str | None = Field(default=None, min_length=1, description="a set with text and label")
    clustering: str | None = Field(default=None, min_length=1, description="a set with text and label")
    pair_classification: str | None = Field(default=None, min_length=1, description="a set of pairs with a label")
    reranking: str | None = Field(default=None, min_length=1, description="a set with query, document and label")
    sts: str | None = Field(default=None, min_length=1, description="a set with sentence1, sentence2 and score")
    masked_text: str | None = Field(default=None, description="a .txt or .txt.gz file, UTF-8, one text a line")
    split: str | None = Field(default=None, min_length=1, description="null: what mteb scores; test for own sets")
    called: str | None = Field(
        default=None, pattern=r"^[^/\\\x00-\x1f]+$", alias="name", description="null: the folder's or file's name"
    )
    languages: tuple[str, ...] | None = Field(
        default=None,
        description="of mteb's: only those parts that are in one of these (eng, deu-Latn); of an own set: its own",
    )
    subsets: tuple[str, ...] | None = Field(
        default=None, description="a task of mteb: only these parts, as mteb calls them"
    )
    columns: dict[str, str] | None = Field(default=None, description="an own set: which of its columns holds what")
    positive: str | int | None = Field(default=None, description="the label of a pair that belongs together; null: 1")
    share: float = Field(default=0.15, gt=0, lt=1, description="of the tokens that are masked and have to be found")
    max_length: int = Field(
        default=128, ge=3, le=2**20, description="tokens of a sequence; the texts are packed into such"
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="decides which tokens are masked")

    @field_validator("languages", "subsets", mode="before")
    @classmethod
    def _yaml_lists(cls, value: object) -> object:
        # YAML has lists only, and strict mode takes no list for a tuple.
        return tuple(value) if isinstance(value, list) else value

    @field_validator("languages", "subsets")
    @classmethod
    def _some(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and (not all(names) or not names or len(set(names)) < len(names)):
            raise ValueError(f"found {list(names)}; allowed: at least one name, each once; leave it out for all")
        return names

    @field_validator("masked_text")
    @classmethod
    def _text_file(cls, name: str | None) -> str | None:
        if name is not None and not name.endswith((".txt", ".txt.gz")):
            raise ValueError(f"found {name!r}; allowed: a file that ends in .txt or .txt.gz")
        return name

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> "TaskEntry":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            listed = ", ".join(f"`{kind}` ({what})" for kind, what in KINDS.items())
            raise ValueError(f"found {' and '.join(given) or 'none'}; give exactly one of {listed}")
        return self

    @model_validator(mode="after")
    def _options_of_its_kind(self) -> "TaskEntry":
        options = _OPTIONS[self.kind]
        given = {"name" if field == "called" else field for field in self.model_fields_set} - set(KINDS)
        foreign = sorted(given - set(options))
        if foreign:
            raise ValueError(f"found {', '.join(foreign)}; allowed with {self.kind}: {', '.join(options)}")
        roles = (*ROLES.get(self.kind, ()), "split")
        unknown = [role for role in self.columns or () if role not in roles]
        if unknown:
            raise ValueError(f"columns: found {', '.join(unknown)}; allowed with {self.kind}: {', '.join(roles)}")
        return self

    @property
    def kind(self) -> Kind:
        """Which of the kinds it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def target(self) -> str:
        """What it names: the task, the benchmark, the folder or the file."""
        return cast("str", getattr(self, self.kind))

    @property
    def name(self) -> str:
        """What the results call it: mteb's own name, the folder's, or the file's."""
        if self.kind in ("task", "benchmark"):
            return self.target
        return self.called or _without_ending(Path(self.target).name)


def _without_ending(name: str) -> str:
    """The file's name without the ending that says what is in it."""
    for ending in sorted((*TABLE_SUFFIXES, *PLAIN_SUFFIXES), key=len, reverse=True):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name
