"""The recipe: everything that changes the model, in one frozen object."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from matryoshka_text.recipe.names import SLUG
from matryoshka_text.recipe.section import Fault, Real, Section, Whole, value_of
from matryoshka_text.recipe.sections import (
    Base,
    Batch,
    Checkpoints,
    Evaluation,
    Lora,
    Objective,
    Optimizer,
    Stopping,
    repeated_names,
)
from matryoshka_text.recipe.sources import Source
from matryoshka_text.recipe.yaml_text import dump_yaml

__all__ = ["Recipe"]


class Recipe(Section):
    """One training run, declared."""

    name: str = Field(
        pattern=SLUG,
        description="names the run folder, `runs/<name>-<hash8>`",
        json_schema_extra={"allowed": "letters, digits, '.', '_' and '-'", "example": "my-recipe"},
    )
    base: Base = Field(
        description="the model that training starts from",
        json_schema_extra={"example": {"model": "sentence-transformers/all-MiniLM-L6-v2"}},
    )
    dims: tuple[Annotated[Whole, Field(ge=1)], ...] = Field(
        min_length=1,
        description="the prefix lengths that are trained, strictly increasing, none above the base's width",
        json_schema_extra={"example": [12, 24, 48, 96, 192, 384]},
    )
    weights: tuple[Annotated[Real, Field(gt=0)], ...] | None = Field(
        default=None, description="one factor a dim in every objective's sum over the dims (null: all 1)"
    )
    data: tuple[Source, ...] = Field(
        min_length=1,
        description="the training data, one section a source",
        json_schema_extra={"example": [{"name": "nli", "file": "pairs.jsonl.gz", "kind": "pairs"}]},
    )
    objectives: tuple[Objective, ...] = Field(
        min_length=1,
        description="what is minimised: the weighted sum of these, each of another kind",
        json_schema_extra={"example": [{"kind": "info_nce"}]},
    )
    batch: Batch = Field(default=Batch(), description="what one step sees")
    optimizer: Optimizer = Field(default=Optimizer(), description="how the weights move")
    stopping: Stopping = Field(description="when training ends", json_schema_extra={"example": {"steps": 1000}})
    precision: Literal["auto", "float32", "bf16"] = Field(
        default="auto",
        description="of the forward and backward pass (master weights are always float32); auto: bf16 where the "
        "hardware does it well",
    )
    seed: Whole = Field(default=0, ge=0, lt=2**32, description="of everything drawn at random")
    lora: Lora | None = Field(default=None, description="low-rank adapters (null: all weights are trained)")
    evaluation: Evaluation | None = Field(default=None, description="evaluation during training (null: none)")
    checkpoints: Checkpoints = Field(default=Checkpoints(), description="what is kept to resume from")
    trackers: tuple[Literal["tensorboard"], ...] = Field(
        default=(), description="where metrics go besides metrics.jsonl", json_schema_extra={"example": ["tensorboard"]}
    )
    folder: Path = Field(
        default=Path(),
        description="the folder that `file` is relative to. A run writes it into its "
        "recipe.yaml, so that the copy still finds its data; it does not count for hash8",
        json_schema_extra={"allowed": "the path of a folder", "default": "the recipe's own"},
    )

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """Faults between sections: order of dims, number of weights, repeated names and kinds, patience."""
        yield from _order_of(found.get("dims"))
        yield from _number_of_weights(found.get("dims"), found.get("weights"))
        yield from repeated_names("data", found.get("data"))
        yield from _repeated_kinds(found.get("objectives"))
        if "evaluation" in found and found["evaluation"] is None:
            patience = value_of(found.get("stopping"), "patience")
            if patience is not None:
                yield (
                    ("stopping", "patience"),
                    f"found {patience} without evaluation; allowed: patience with an evaluation section; "
                    "add one, or remove patience",
                )

    @property
    def hash8(self) -> str:
        """The first 8 hex digits of the sha256 of all values, defaults included, as canonical JSON; without `folder`.

        Data files count by their path as written, not by their content (that is what `data.fingerprint` is for), so
        the hash is the same on every machine and wherever the checkout lies.
        """
        values = self.model_dump(mode="json", exclude={"folder"})
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:8]

    def dump_yaml(self) -> str:
        """The recipe as YAML with every value filled in; `load_recipe` reads it back equal, from any folder."""
        values = self.model_dump(mode="json")
        return dump_yaml({**values, "folder": str(self.folder.resolve())})


def _order_of(dims: Sequence[Any] | None) -> Iterator[Fault]:
    for index, (before, dim) in enumerate(pairwise(dims or ()), start=1):
        if isinstance(dim, int) and isinstance(before, int) and dim <= before:
            twice = "remove one of the two" if dim == before else "sort the list upwards"
            yield (
                ("dims", index),
                f"found {dim}, which is not above {before}; allowed: strictly increasing whole numbers; {twice}",
            )


def _number_of_weights(dims: Sequence[Any] | None, weights: Sequence[Any] | None) -> Iterator[Fault]:
    if dims is not None and weights is not None and len(weights) != len(dims):
        yield (
            ("weights",),
            f"found {len(weights)} weights for {len(dims)} dims; allowed: one weight a dim, or null for all 1; "
            f"write {len(dims)} numbers",
        )


def _repeated_kinds(objectives: Any) -> Iterator[Fault]:
    seen: dict[Any, int] = {}
    for index, objective in enumerate(objectives or ()):
        kind = value_of(objective, "kind")
        if not isinstance(kind, str):
            continue
        if kind in seen:
            yield (
                ("objectives", index, "kind"),
                f"found {kind!r} again (objectives[{seen[kind]}] has it); allowed: each kind once; "
                "merge the two and add up their weights",
            )
        seen.setdefault(kind, index)
