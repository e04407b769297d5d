"""The batches of a run: a pure function of recipe, data and step, so nothing of it has to be stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
import torch

from matryoshka_text.data import BatchPlan, Examples, plan_batches
from matryoshka_text.data.packing import PackedTexts
from matryoshka_text.data.planner import plan_rows
from matryoshka_text.objectives import Stream
from matryoshka_text.recipe import Recipe
from matryoshka_text.recipe.requirements import batch_of
from matryoshka_text.recipe.wording import dotted

__all__ = ["StepRows", "StreamPlan", "batch_size", "batches_from", "pass_tokens"]

StepRows = tuple[int, dict[Stream, list[list[int]]]]

# Padded tokens of a pass if the recipe leaves it open. On a CPU small passes stay in the caches and hold texts of
# one length: a batch of 64 of the quickstart's pairs has 1.35 padded tokens for a real one, and 2.84 in one pass
# (2026-11-21). The GPU's number has not been measured.
_TOKENS = {"cpu": 1024}
_TOKENS_ELSEWHERE = 16384

# Keeps the draw of a step's stream apart from its other draws.
_STREAM = 3


def batch_size(recipe: Recipe, stream: Stream) -> tuple[int, str]:
    """Rows of a global batch of `stream`, its objective's own or the recipe's, and the key that says so."""
    size, loc = batch_of(dict(recipe), stream)
    return size, dotted(loc)


@dataclass(frozen=True)
class StreamPlan:
    """The global batches of one stream, epoch by epoch."""

    recipe: Recipe
    stream: Stream
    examples: Examples
    packed: PackedTexts | None

    def __post_init__(self) -> None:
        """`DataError` if the data do not fill a batch."""
        _ = self.first  # planned at once, so that a run that cannot begin writes nothing

    @cached_property
    def first(self) -> BatchPlan:
        """The batches of the first epoch."""
        return self.epoch(0)

    def batches(self) -> Iterator[np.ndarray]:
        """Batch after batch, without end; every epoch is shuffled anew."""
        plan = self.first
        for epoch in count(1):
            yield from plan.batches
            plan = self.epoch(epoch)

    def epoch(self, epoch: int) -> BatchPlan:
        """The batches of an epoch, from 0."""
        recipe, packed = self.recipe, self.packed
        size, key = batch_size(recipe, self.stream)
        bucket = recipe.batch.bucket
        if packed is not None:
            return plan_rows(np.diff(packed.starts), size=size, seed=recipe.seed, epoch=epoch, bucket=bucket, key=key)
        return plan_batches(
            self.examples.columns,
            size=size,
            seed=recipe.seed,
            epoch=epoch,
            bucket=bucket,
            groups=self.examples.source if recipe.batch.mixing == "by_source" else None,
            # About eight characters a token are an upper bound for English; beyond max_length all texts cost the same.
            longest=8 * recipe.batch.max_length,
            distinct=self.stream == "pairs",
            key=key,
        )


def batches_from(recipe: Recipe, plans: Mapping[Stream, StreamPlan], start: int, steps: int) -> Iterator[StepRows]:
    """(step, rows of each stream's batches) from step `start` (0 is the first) up to `steps`.

    A step has one batch of a stream, or as many as are accumulated. Streams are walked from the first step: how far
    each has come depends on all draws before, and epochs may differ by a batch (what fits with what depends on the
    shuffle).
    """
    walks = {stream: plan.batches() for stream, plan in plans.items()}
    for step in range(steps):
        batches = {
            stream: [next(walks[stream]).tolist() for _ in range(recipe.batch.accumulate)]
            for stream in _streams_of(recipe, list(plans), step)
        }
        if step >= start:
            yield step, batches


def _streams_of(recipe: Recipe, streams: list[Stream], step: int) -> list[Stream]:
    """All streams, or the one that is drawn for the step."""
    if recipe.stream_shares is None or len(streams) == 1:
        return streams
    shares = np.asarray([getattr(recipe.stream_shares, stream) for stream in streams], dtype=np.float64)
    rng = np.random.Generator(np.random.PCG64([recipe.seed, step, _STREAM]))
    return [streams[int(rng.choice(len(streams), p=shares / shares.sum()))]]


def pass_tokens(device: torch.device) -> int:
    """Padded tokens of one forward pass if the recipe leaves it open."""
    return _TOKENS.get(device.type, _TOKENS_ELSEWHERE)
