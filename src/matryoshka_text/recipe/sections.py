"""The sections of a recipe that say what is trained, and how."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from matryoshka_text.recipe.names import Names
from matryoshka_text.recipe.sources import HeldOut
from matryoshka_text.section import Fault, Flag, Real, Section, Whole, items_of, value_of

__all__ = [
    "Averaging",
    "Base",
    "Batch",
    "Checkpoints",
    "Evaluation",
    "Lora",
    "Optimizer",
    "Stopping",
    "StreamShares",
    "repeated_names",
]


class Base(Section):
    """The model that training starts from."""

    model: str = Field(
        min_length=1,
        description="a local folder, or an id on the Hugging Face hub",
        json_schema_extra={"example": "sentence-transformers/all-MiniLM-L6-v2"},
    )
    revision: str | None = Field(
        default=None, min_length=1, description="a branch, tag or commit on the hub (null: main)"
    )
    pooling: Literal["mean", "cls"] | None = Field(
        default=None,
        description="how token vectors become one, for a checkpoint that is no sentence-transformers model "
        "(null: mean there, and the model's own elsewhere)",
    )
    trust_remote_code: Flag = Field(default=False, description="run Python code that the checkpoint brings along")
    prompts: dict[str, str] = Field(
        default={},
        description="words put before texts, by name, in place of the base's own of that name or next to them: `query` "
        "before anchors and in `encode_query`, `document` before positives and in `encode_document`, any other name if "
        "a source or a caller asks for it. They count in `batch.max_length` and are saved with the model",
        json_schema_extra={"allowed": "a mapping from names to texts", "example": {"query": "query: "}},
    )
    default_prompt_name: str | None = Field(
        default=None,
        min_length=1,
        description="the prompt before all other texts, in `encode` too (null: the base's own choice, as a rule none)",
        json_schema_extra={"allowed": "the name of a prompt of the base"},
    )

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The fault of a prompt without a name."""
        if isinstance(found.get("prompts"), dict) and "" in found["prompts"]:
            yield ("prompts", ""), "found a prompt without a name; allowed: names such as query; give it one"


class Batch(Section):
    """What one optimizer step sees."""

    size: Whole = Field(default=64, ge=2, description="rows of the GLOBAL batch, over all processes")
    max_length: Whole = Field(
        default=128, ge=3, le=2**20, description="tokens of a text in training; the saved model has its own"
    )
    chunk: Whole | None = Field(
        default=None,
        ge=1,
        description="texts in one forward pass: a batch is sorted by length and cut into chunks, so that little is "
        "padded (null: cut by `tokens`)",
    )
    tokens: Whole | None = Field(
        default=None,
        ge=1,
        description="tokens in one forward pass, padding included, in place of `chunk`: short texts share a pass with "
        "many others, long ones with few, so that every pass is of about one size (null: 1024 on a CPU, 16384 on a "
        "GPU; plain text in one pass)",
    )
    text_in_one_pass: Flag | None = Field(
        default=None,
        description="plain text takes one forward pass a batch, whatever `chunk` and `tokens` say (null: true if both "
        "are left out). A run writes it into its recipe.yaml next to the `tokens` that its device chose",
    )
    accumulate: Whole = Field(
        default=1,
        ge=1,
        description="global batches whose gradients are averaged before an update; each has its own in-batch "
        "negatives (plain text: one mean over the masked tokens of all)",
    )
    gradient_caching: Flag = Field(
        default=False,
        description="keep one chunk's memory only, at the price of a second forward pass; the loss still sees the "
        "whole batch (GradCache)",
    )
    bucket: Whole = Field(
        default=1,
        ge=1,
        description="batches filled at a time from rows sorted by length: less padding, but texts of like length "
        "(and so, in mixed data, of like kind) meet (1: rows meet at random)",
    )
    mixing: Literal["mixed", "by_source"] = Field(
        default="mixed", description="mixed: a batch takes rows of any source; by_source: of one source"
    )

    def resolved(self, tokens: int) -> "Batch":
        """The batch with the size of its passes filled in: `tokens` if it says nothing of it."""
        cut = self.chunk is not None or self.tokens is not None
        one_pass = not cut if self.text_in_one_pass is None else self.text_in_one_pass
        return self.model_copy(update={"tokens": self.tokens if cut else tokens, "text_in_one_pass": one_pass})

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The fault of passes cut in two ways."""
        if not {"chunk", "tokens"} <= set(found):
            return
        chunk, tokens = found["chunk"], found["tokens"]
        if chunk is not None and tokens is not None:
            yield (
                ("tokens",),
                f"found {tokens} next to batch.chunk {chunk}; allowed: one of the two; leave `chunk` out",
            )


class Optimizer(Section):
    """AdamW and the course of its learning rate."""

    kind: Literal["adamw"] = Field(default="adamw", description="the optimizer")
    learning_rate: Real = Field(default=5e-5, gt=0, description="the highest learning rate, reached after the warm-up")
    head_learning_rate: Real = Field(
        default=1e-3,
        gt=0,
        description="the same for what starts from scratch: class heads, fresh MLM heads, factors",
    )
    weight_decay: Real = Field(default=0.01, ge=0, description="decoupled weight decay; biases and norms have none")
    betas: tuple[Annotated[Real, Field(ge=0, lt=1)], Annotated[Real, Field(ge=0, lt=1)]] = Field(
        default=(0.9, 0.999), description="decay of the running mean and of the running square of the gradient"
    )
    epsilon: Real = Field(default=1e-8, gt=0, description="added to the denominator")
    max_grad_norm: Real = Field(default=1.0, gt=0, description="gradients with a larger norm are scaled down to it")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="the learning rate after the warm-up: down to 0, or constant"
    )
    warmup: Real = Field(
        default=0.1, ge=0, lt=1, description="share of all steps in which the learning rate rises from 0"
    )

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The fault of a decay that takes all of a weight in one step."""
        decay, rates = found.get("weight_decay"), ("learning_rate", "head_learning_rate")
        given = [(found[key], key) for key in rates if isinstance(found.get(key), int | float)]
        if given and isinstance(decay, int | float) and max(given)[0] * decay >= 1:
            rate, key = max(given)
            yield (
                ("weight_decay",),
                f"found {decay:g} with {key} {rate:g}: each step would take {rate * decay:g} times every weight; "
                f"allowed: a product below 1; write 0.01, or a lower {key}",
            )


class Stopping(Section):
    """When training ends: exactly one of `steps` and `epochs`."""

    steps: Whole | None = Field(default=None, ge=1, description="optimizer steps")
    epochs: Whole | None = Field(default=None, ge=1, description="passes over the data")
    patience: Whole | None = Field(
        default=None, ge=1, description="stop after so many evaluations without a better score (null: never early)"
    )

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The fault of having both or none of steps and epochs."""
        if not {"steps", "epochs"} <= set(found):
            return
        if (found["steps"] is None) == (found["epochs"] is None):
            both = "neither steps nor epochs" if found["steps"] is None else "both steps and epochs"
            yield (), f"found {both}; allowed: exactly one of the two; write `steps: 1000` or `epochs: 1`"


class Averaging(Section):
    """A uniform average of the trained weights over the later steps, exported in place of the last weights.

    Once it has begun, held-out sets score the average, and the best checkpoint is one of averages.
    """

    start: Real = Field(default=0.5, ge=0, lt=1, description="share of all steps after which it begins")
    every: Whole = Field(default=1, ge=1, description="steps between two states that are averaged")
    base_share: Real = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how far the encoder is drawn back to the weights it started from (after the rotation): exported "
        "is (1 - base_share) x average + base_share x start; heads are averaged only",
    )


class Lora(Section):
    """Low-rank adapters in place of training all weights; merged into the saved model."""

    rank: Whole = Field(default=16, ge=1, le=4096, description="rank of each adapter")
    alpha: Whole = Field(default=32, ge=1, description="the adapter is scaled by alpha / rank")
    dropout: Real = Field(default=0.05, ge=0, lt=1, description="dropout before each adapter")
    target_modules: Names = Field(
        default="all-linear",
        description="which modules get an adapter: all-linear, or a list of module names such as [query, value]",
        json_schema_extra={"allowed": "all-linear, or a list of module names"},
    )
    keep_adapter: Flag = Field(
        default=False, description="also write only the adapters to <run>/adapter, as peft opens them on the base"
    )

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The fault of a single name other than all-linear."""
        target = found.get("target_modules")
        if isinstance(target, str) and target != "all-linear":
            yield (
                ("target_modules",),
                f"found {target!r}; allowed: all-linear, or a list of module names; write `[{target}]`",
            )


class Evaluation(Section):
    """Evaluation during training, at every dim; the best checkpoint is kept."""

    every: Whole = Field(ge=1, description="steps between two evaluations", json_schema_extra={"example": 100})
    select: Literal["mean", "smallest", "full"] = Field(
        default="mean",
        description="the score that picks the best checkpoint: mean over the dims, smallest dim, largest dim",
    )
    data: tuple[HeldOut, ...] = Field(
        min_length=1,
        description="the held-out sets; their scores are averaged",
        json_schema_extra={"example": [{"name": "sts", "file": "sts.jsonl", "kind": "sts"}]},
    )

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The faults of names that occur twice."""
        yield from repeated_names("data", items_of(found, "data"))


class StreamShares(Section):
    """How often each stream of data is drawn: a step takes a batch of one of them, the same in every process."""

    pairs: Real | None = Field(default=None, gt=0, description="share of steps on pairs, triplets, nli, mined")
    text: Real | None = Field(default=None, gt=0, description="share of steps on text sources")
    labelled: Real | None = Field(default=None, gt=0, description="share of steps on labelled sources")
    scored: Real | None = Field(default=None, gt=0, description="share of steps on scored sources")


class Checkpoints(Section):
    """What is kept to resume from."""

    every: Whole = Field(default=50, ge=1, description="steps between two checkpoints")
    keep: Whole = Field(default=2, ge=1, description="how many of the newest are kept, beside the best")


def repeated_names(key: str, sections: Sequence[Any]) -> Iterator[Fault]:
    """A fault for each of `sections` whose name an earlier one has."""
    seen: dict[Any, int] = {}
    for index, section in enumerate(sections):
        name = value_of(section, "name")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield (
                (key, index, "name"),
                f"found {name!r}, which is also the name of {key}[{seen[name]}]; allowed: its own name; rename one",
            )
        else:
            seen[name] = index
