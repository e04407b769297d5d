"""The keys of a recipe that say at which prefixes, and after which layers, the losses are read."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from matryoshka_text.dims import out_of_order
from matryoshka_text.objectives import KINDS
from matryoshka_text.section import Fault, Real, Section, Whole, items_of

__all__ = ["Dims", "LayerPairs", "Layers", "RandomLayer", "Weights", "faults_of_pairs", "preset_or_list", "weights_of"]


def preset_or_list(value: Any) -> str:
    """The branch of a key that takes a preset's name or a list."""
    return "preset" if isinstance(value, str) else "list"


Dims = Annotated[
    Annotated[Literal["log"], Tag("preset")]
    | Annotated[tuple[Annotated[Whole, Field(ge=1)], ...], Field(min_length=1), Tag("list")],
    Discriminator(preset_or_list),
]
Weights = Annotated[
    Annotated[Literal["uniform", "low", "learned"], Tag("preset")]
    | Annotated[tuple[Annotated[Real, Field(gt=0)], ...], Tag("list")],
    Discriminator(preset_or_list),
]


def weights_of(weights: str | Sequence[float], dims: Sequence[int]) -> tuple[float, ...]:
    """One factor a dim: the list itself, or what the preset means for `dims`.

    low: 1/sqrt(dim), scaled to a mean of 1, so that each halving counts 1.4 times as much; uniform and learned start
    at 1.
    """
    if not isinstance(weights, str):
        return tuple(weights)
    if weights != "low":
        return (1.0,) * len(dims)
    raw = [dim**-0.5 for dim in dims]
    return tuple(len(raw) * one / sum(raw) for one in raw)


class RandomLayer(Section):
    """2-D Matryoshka: a random layer below the last learns too, at every dim (arXiv:2402.14776)."""

    kind: Literal["random"] = Field(description="one layer below the last is drawn in each step")
    lowest: Whole = Field(default=1, ge=1, description="the lowest layer that is drawn; 1 is the first")
    weight: Real = Field(default=1.0, gt=0, description="factor of the drawn layer's losses; the last layer's have 1")
    kl_weight: Real = Field(
        default=1.0,
        ge=0,
        description="factor of the KL divergence from the last layer, alike at every dim (0: none)",
    )
    kl_temperature: Real = Field(default=0.05, ge=1e-4, description="divides the cosines of that KL; no unit")


class LayerPairs(Section):
    """Fixed pairs of a layer and a dim, small to large, each with its loss (Starbucks, arXiv:2410.13230)."""

    kind: Literal["pairs"] = Field(description="the same layers and dims in each step")
    pairs: tuple[tuple[Annotated[Whole, Field(ge=1)], Annotated[Whole, Field(ge=1)]], ...] = Field(
        min_length=2,
        description="[layer, dim], both increasing; the last is the full model: the last layer and the largest of "
        "dims. Every dim is in a pair, unless mlm or classify reads it too",
        json_schema_extra={
            "allowed": "a list of pairs [layer, dim], both increasing",
            "example": [[2, 32], [4, 64], [6, 128], [8, 256], [10, 512], [12, 768]],
        },
    )
    weight: Real = Field(default=1.0, gt=0, description="factor of the losses below the last pair")
    kl_weight: Real = Field(
        default=1.0,
        ge=0,
        description="factor of the KL divergence from the last pair, alike at every dim (0: none)",
    )
    kl_temperature: Real = Field(default=0.05, ge=1e-4, description="divides the cosines of that KL; no unit")

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The faults of pairs that do not grow."""
        pairs = [tuple(pair) for pair in items_of(found, "pairs") if isinstance(pair, list | tuple)]
        for index, (before, pair) in enumerate(pairwise(pairs), start=1):
            numbers = all(isinstance(one, int) for one in (*before, *pair)) and len(before) == len(pair) == 2
            if numbers and not (before[0] < pair[0] and before[1] < pair[1]):
                yield (
                    ("pairs", index),
                    f"found {list(pair)} after {list(before)}; allowed: layer and dim above those before; "
                    "sort the pairs upwards",
                )


Layers = Annotated[RandomLayer | LayerPairs, Field(discriminator="kind")]

# Those that read pairs or scored sentences do so only at the dims of the pairs.
_AT_PAIRS = [kind for kind, objective in KINDS.items() if objective.reads in ("pairs", "scored")]


def faults_of_pairs(pairs: Any, dims: Any, kinds: Sequence[Any], *, means: str = "") -> Iterator[Fault]:
    """Faults of a `LayerPairs` next to `dims`: other dims, a last pair that is not the full width, dims in no pair.

    `kinds` are those of the objectives; one that reads no layers reads every dim. `means` says why the dims are these,
    where the recipe does not list them. Nothing if pairs or dims are wrong by themselves.
    """
    if not (_increasing(dims) and isinstance(pairs, list | tuple) and pairs and all(map(_is_pair, pairs))):
        return
    listed = f"{', '.join(map(str, dims))}{means}"
    for index, (_, dim) in enumerate(pairs):
        if dim not in dims:
            way_out = "use one of these" if means else "add it to the dims"
            yield ("pairs", index), f"found dim {dim}, which is not in dims; allowed: {listed}; {way_out}"
    read = {dim for _, dim in pairs}
    last = pairs[-1][1]
    if last in dims and last != dims[-1]:
        yield (
            ("pairs", len(pairs) - 1),
            f"found dim {last} in the last pair; allowed: {dims[-1]}, the largest of dims{means}, since the last pair "
            f"is the full model; write {dims[-1]} there, or add a pair of the last layer and {dims[-1]}",
        )
    unread = [str(dim) for dim in dims[:-1] if dim not in read]
    if unread and kinds and all(kind in _AT_PAIRS for kind in kinds):
        yield (
            ("pairs",),
            f"found no pair at {', '.join(unread)} of dims; allowed: a pair for each of {listed}, since no objective "
            f"next to (mlm, classify) reads it; add pairs, or {'list the dims' if means else 'shorten dims'}",
        )


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and all(type(one) is int for one in pair)


def _increasing(dims: Any) -> bool:
    whole = isinstance(dims, list | tuple) and bool(dims) and all(type(dim) is int for dim in dims)
    return whole and not any(out_of_order(dims))
