"""What a star says: which intervals there are, what was drawn again for them, and what they leave open."""

from collections.abc import Sequence

from matryoshka_text.evaluation.report.tables import Table

__all__ = ["OF_TASKS", "star_words"]

OF_TASKS = "of a mean: the items of each of its tasks are drawn again, the tasks stay as they are"
_CLUSTERING = "Clustering"


def star_words(shown: Sequence[Table], others: Sequence[int]) -> list[str]:
    """What the intervals of these tables' differences to these columns are made of; [] where none is known."""
    gaps = [
        (one, dim, other, gap) for one in shown for other in others for dim in one.dims if (gap := one.gap(dim, other))
    ]
    known = [(one, dim, other, gap) for one, dim, other, gap in gaps if gap.interval is not None]
    if not known:
        return []
    found = ["* real: the 95% paired bootstrap interval of the difference does not hold 0"]
    if any(not one.task for one, *_ in known):
        found.append(OF_TASKS)
    if any(one.cells[other][dim].spread is not None for one, dim, other, _ in known):
        found.append("of a method that draws: the draws are drawn again beside the items")
    if any(one.type == _CLUSTERING and gap.real for one, _, _, gap in known):
        found.append(
            "of clustering: the items are the task's few experiments or sets (mostly ten), not its texts, so that its "
            "stars are the least certain"
        )
    if len(known) < len(gaps):
        found.append("not every difference has a known interval")
    return found
