"""The batches of a run: a pure function of recipe, data and step, so nothing of it has to be stored."""

from collections.abc import Iterator

import numpy as np

from matryoshka_text.data import BatchPlan, Examples, plan_batches
from matryoshka_text.recipe import Recipe

__all__ = ["batches_from", "plan_epoch"]


def plan_epoch(recipe: Recipe, examples: Examples, epoch: int) -> BatchPlan:
    """The recipe's global batches of one epoch."""
    return plan_batches(
        examples.columns,
        size=recipe.batch.size,
        seed=recipe.seed,
        epoch=epoch,
        bucket=recipe.batch.bucket,
        groups=examples.source if recipe.batch.mixing == "by_source" else None,
        # About eight characters a token are an upper bound for English; beyond max_length all texts cost the same.
        longest=8 * recipe.batch.max_length,
    )


def batches_from(
    recipe: Recipe, examples: Examples, first_epoch: BatchPlan, start: int, steps: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(step, rows) from step `start` (0 is the first) up to `steps`, epoch after epoch.

    Epochs may differ by a batch (what fits beside what depends on the shuffle), so they are walked from the first.
    """
    step, epoch, plan = 0, 0, first_epoch
    while step < steps:
        for rows in plan.batches[: steps - step]:
            if step >= start:
                yield step, rows
            step += 1
        epoch += 1
        if step < steps:
            plan = plan_epoch(recipe, examples, epoch)
