"""The recipe: everything that changes the model, in one frozen object."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field

from matryoshka_text.dims import log_dims
from matryoshka_text.objectives import KINDS, Objective
from matryoshka_text.prompts import ModelPrompts
from matryoshka_text.recipe.between import faults_between
from matryoshka_text.recipe.names import SLUG
from matryoshka_text.recipe.nesting import Dims, Layers, Weights, weights_of
from matryoshka_text.recipe.rotation import RotationSection
from matryoshka_text.recipe.sections import (
    Averaging,
    Base,
    Batch,
    Checkpoints,
    Evaluation,
    Lora,
    Optimizer,
    Stopping,
    StreamShares,
)
from matryoshka_text.recipe.sources import Source
from matryoshka_text.section import Fault, Section, Whole
from matryoshka_text.yaml_lines import dump_yaml

__all__ = ["Recipe"]

# Keys of later versions do not count while they hold their default, so that the hash of an older recipe stays.
_LATER: Mapping[str, Any] = {
    "rotation": None,
    "averaging": None,
    "vector_weight": 0.0,
    "kl_temperature": 0.05,
    "text_in_one_pass": None,
    "prompts": {},
    "default_prompt_name": None,
    "teacher_prompts": {},
    "teacher_trust_remote_code": False,
}
# Which objectives there are is known when the program starts, not when types are checked.
if TYPE_CHECKING:
    AnyObjective = Objective
else:
    AnyObjective = Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")]  # noqa: UP007
_WITH_OBJECTIVES = "required with objectives"


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
    dims: Dims = Field(
        description="the prefix lengths that are trained, strictly increasing, none above the base's width; log: the "
        "width and its halvings, down to 8 at least",
        json_schema_extra={"example": [12, 24, 48, 96, 192, 384]},
    )
    weights: Weights = Field(
        default="uniform",
        description="factors of the dims in every objective's sum: one a dim, or uniform (all 1), low (1/sqrt(dim), "
        "mean 1), learned (uncertainty weighting, arXiv:1705.07115)",
    )
    dims_per_step: Literal["all", "nested_dropout", "one_and_full"] = Field(
        default="all",
        description="at which of the dims a step reads its losses: all of them; nested_dropout: one, drawn at random "
        "(arXiv:1402.0915); one_and_full: one drawn at random and the largest. Factors make up for the draw, and "
        "evaluation reads all dims",
    )
    layers: Layers | None = Field(
        default=None, description="layers below the last that learn too, from pairs and scored sources (null: none)"
    )
    data: tuple[Source, ...] = Field(
        default=(),
        description="the training data, one section a source",
        json_schema_extra={
            "default": _WITH_OBJECTIVES,
            "example": [{"name": "nli", "file": "pairs.jsonl.gz", "kind": "pairs"}],
        },
    )
    rotation: RotationSection | None = Field(
        default=None, description="rotates the base's vectors before the objectives, or without any (null: none)"
    )
    objectives: tuple[AnyObjective, ...] = Field(
        default=(),
        description="what is minimised: the weighted sum of these, each of another kind",
        json_schema_extra={"default": "required without rotation", "example": [{"kind": "info_nce"}]},
    )
    stream_shares: StreamShares | None = Field(
        default=None,
        description="how often each stream of data is drawn, a batch of one stream a step (null: a batch of every "
        "stream in every step)",
    )
    batch: Batch = Field(default=Batch(), description="what one step sees")
    optimizer: Optimizer = Field(default=Optimizer(), description="how the weights move")
    stopping: Stopping | None = Field(
        default=None,
        description="when training ends",
        json_schema_extra={"default": _WITH_OBJECTIVES, "example": {"steps": 1000}},
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        default="auto",
        description="of the forward and backward pass, and of the encoding for a rotation (master weights are always "
        "float32); auto: bf16 where the hardware does it well",
    )
    seed: Whole = Field(default=0, ge=0, lt=2**32, description="of everything drawn at random")
    lora: Lora | None = Field(default=None, description="low-rank adapters (null: all weights are trained)")
    averaging: Averaging | None = Field(
        default=None, description="average the weights of the later steps (null: export the last weights)"
    )
    evaluation: Evaluation | None = Field(default=None, description="evaluation during training (null: none)")
    checkpoints: Checkpoints = Field(default=Checkpoints(), description="what is kept to resume from")
    twins: tuple[Literal["ff", "plain"], ...] = Field(
        default=(),
        description="baselines trained after the run, on the same data and steps, in <run>/twins: ff, a model for each "
        "dim only; plain, one model at full width only",
        json_schema_extra={"example": ["ff", "plain"]},
    )
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
        """Faults between sections: dims, weights and layers, repeated names and kinds, streams, patience."""
        yield from faults_between(found)

    @property
    def hash8(self) -> str:
        """The first 8 hex digits of the sha256 of all values, defaults included, as canonical JSON; without `folder`,
        and without keys of later versions (`_LATER`) that hold their default.

        Data files count by their path as written, not by their content (that is what `data.fingerprint` is for), so
        the hash is the same on every machine and wherever the checkout lies.
        """
        values = _counted(self.model_dump(mode="json", exclude={"folder"}))
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:8]

    def dump_yaml(self) -> str:
        """The recipe as YAML with every value filled in; `load_recipe` reads it back equal, from any folder."""
        values = self.model_dump(mode="json")
        return dump_yaml({**values, "folder": str(self.folder.resolve())})

    def resolved_for(
        self, width: int, *, prompts: ModelPrompts, precision: Literal["float32", "bf16"], tokens: int
    ) -> "Recipe":
        """The recipe with everything filled in that it leaves to the base and the machine.

        `width` is the base's, for `dims: log`, and `prompts` are its prompts, those of the recipe among them;
        `precision` is what `auto` means here, `tokens` the size of a pass here.
        """
        base = {"prompts": dict(prompts.texts), "default_prompt_name": prompts.default}
        return self.model_copy(
            update={
                "base": self.base.model_copy(update=base),
                "dims": log_dims(width) if self.dims == "log" else self.dims,
                "precision": precision if self.precision == "auto" else self.precision,
                "batch": self.batch.resolved(tokens),
            }
        )

    def filled_from(self, run: "Recipe") -> "Recipe":
        """This recipe with what it leaves open as `run`, the resolved recipe of a run, has it."""
        changes: dict[str, Any] = {}
        if self.dims == "log" and run.dims != "log" and run.lengths == log_dims(run.lengths[-1]):
            changes["dims"] = run.dims
        if self.precision == "auto":
            changes["precision"] = run.precision
        changes["base"] = self.base.model_copy(
            update={
                "prompts": {**run.base.prompts, **self.base.prompts},
                "default_prompt_name": self.base.default_prompt_name or run.base.default_prompt_name,
            }
        )
        # A recipe of an earlier version is stored as it was written.
        if self.batch.text_in_one_pass is None and run.batch.text_in_one_pass is not None:
            changes["batch"] = self.batch.resolved(run.batch.tokens or 0)
        return self.model_copy(update=changes)

    @property
    def prompts(self) -> ModelPrompts:
        """The model's prompts; those of the base among them once the recipe is resolved."""
        return ModelPrompts(self.base.prompts, self.base.default_prompt_name)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The dims as numbers; only once the recipe is resolved, if it says log."""
        assert not isinstance(self.dims, str)
        return self.dims

    @property
    def factors(self) -> tuple[float, ...]:
        """One factor a dim; see `weights_of`."""
        return weights_of(self.weights, self.lengths)

    def objective(self, kind: str) -> Any:
        """The section of the objective of that kind; None if the recipe has none."""
        return next((spec for spec in self.objectives if spec.kind == kind), None)


def _counted(value: Any) -> Any:
    """`value` without the keys of `_LATER` that hold their default."""
    if isinstance(value, list):
        return [_counted(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _counted(item) for key, item in value.items() if key not in _LATER or item != _LATER[key]}
