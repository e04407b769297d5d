"""Which ways of searching are compared: single shots, adaptive pairs, funnels, a tuned plan and AdANNS."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, get_args

from matryoshka_text.evaluation.searching.rows import Kind
from matryoshka_text.rows import Precision
from matryoshka_text.search.plan import FUNNELS, Plan
from matryoshka_text.search.stage import Stage
from matryoshka_text.search.structures import lists_for

__all__ = ["RECALL", "SHORTLIST", "Contender", "K", "contenders"]

# As in the Matryoshka paper, section 4.3.1; AdANNS reads one list, and a few.
K, SHORTLIST, RECALL = 10, 200, 0.99
_STAGES, _PROBES = 4, (1, 8)
_FEWEST_ROWS, _FEWEST_FOR_LISTS = 20, 39


class Contender(NamedTuple):
    """One way. `plan` None: a single shot, AdANNS (`probes`), or the plan that is still to be tuned."""

    kind: Kind
    name: str
    dim: int
    precision: Precision = "float32"
    plan: Plan | None = None
    probes: int | None = None


def contenders(dims: Sequence[int], documents: int, *, rotated: bool) -> Iterator[Contender]:
    """All ways for a collection of that size; `dims` end with the full width.

    `rotated`: without what a rotation does not change, because it reads all coordinates.
    """
    *short, width = dims
    asked = short if rotated else dims
    yield from (Contender("single", f"{dim} dims", dim) for dim in asked)
    for precision in get_args(Precision):
        for dim in short:
            code = "" if precision == "float32" else f" {precision}"
            first = Stage(dim=dim, precision=precision, keep=SHORTLIST)
            plan = Plan(stages=(first, Stage(dim=width)))
            yield Contender("adaptive", f"{dim} dims{code}, keep {SHORTLIST}", dim, precision, plan=plan)
    if short:
        through = (*short[:_STAGES], width)
        for name, keeps in FUNNELS.items():
            yield Contender(
                "funnel", f"{name}, {'-'.join(map(str, through))}", short[0], plan=Plan.funnel(through, keeps)
            )
    if documents >= _FEWEST_ROWS:
        yield Contender("tuned", f"recall {RECALL}", width)
    if documents >= _FEWEST_FOR_LISTS:
        count = lists_for(documents)
        for dim in asked:
            for probes in sorted({min(probes, count) for probes in _PROBES}):
                lists = f"{probes} of {count} list{'' if count == 1 else 's'}"
                yield Contender("lists", f"AdANNS {dim} dims, {lists}", dim, probes=probes)
