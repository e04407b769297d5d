"""What a star says: which intervals there are, what was drawn again for them, and what they leave open."""

from collections.abc import Sequence

from matryoshka_text.evaluation.report.tables import Table

__all__ = ["OF_TASKS", "star_words"]

OF_TASKS = (
    "of a mean: the items of each of its tasks are drawn again, each task's for itself unless they are the same ones; "
    "the tasks stay as they are"
)
_CLUSTERING = "Clustering"
_FEW = 6


def star_words(shown: Sequence[Table], others: Sequence[int]) -> list[str]:
    """What the intervals of these tables' differences to these columns are made of; [] where none is known."""
    every = [one for one in shown if one.main]
    gaps = [
        (one, dim, other, gap) for one in every for other in others for dim in one.dims if (gap := one.gap(dim, other))
    ]
    known = [(one, dim, other, gap) for one, dim, other, gap in gaps if gap.interval is not None]
    if not known:
        return []
    found = ["* real: the 95% paired bootstrap interval of the difference does not hold 0"]
    if any(not one.task for one, *_ in known):
        found.append(OF_TASKS)
    draws = [len(one.cells[other][dim].draws) for one, dim, other, _ in known]
    if max(draws) > 1:
        found.append("of a method that draws: the draws are drawn again beside the items" + _of_few(draws))
    if any(one.type == _CLUSTERING and gap.real for one, _, _, gap in known):
        found.append(
            "of clustering: the items are the task's few experiments or sets (mostly ten), not its texts, so that its "
            "stars are the least certain"
        )
    if len(known) < len(gaps):
        found.append("not every difference has a known interval")
    return found


def _of_few(draws: Sequence[int]) -> str:
    """What draws are too few for: the lowest of three, or the highest, makes up a round too often to be left out."""
    return ", of so few hardly beyond their own range" if any(1 < count < _FEW for count in draws) else ""
