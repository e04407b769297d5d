"""Hard negatives: every example gets the same number, whatever its row has."""

import logging
from collections import Counter, deque
from collections.abc import Iterator
from itertools import chain, islice

from matryoshka_text.data.columns import Example
from matryoshka_text.data.draw import plain
from matryoshka_text.reading import Faults

__all__ = ["evened"]

log = logging.getLogger(__name__)

# The examples that say how many negatives are usual, and the negatives that others may get.
_HEAD = 1000


def evened(examples: Iterator[Example], label: str, faults: Faults, *, exact: bool) -> Iterator[Example]:
    """Examples of (anchor, positive, any number of negatives), all with the number that most of the first 1,000 have.

    An example with more keeps its first ones. One with fewer also gets negatives of other rows, texts that it does not
    have: in a batch those would be its wrong answers too. With `exact`, another number is a fault. A warning says how
    many examples have fewer or more.
    """
    head = list(islice(examples, _HEAD))
    counts = Counter(len(example.texts) - 2 for example in head)
    del counts[0]
    wanted = max(counts, key=lambda count: (counts[count], count), default=0)
    others = deque((text for example in head for text in example.texts[2:]), maxlen=_HEAD)
    fewer = more = 0
    for example in chain(head, examples):
        texts, found = example.texts[: 2 + wanted], len(example.texts) - 2
        fewer, more = fewer + (found < wanted), more + (found > wanted)
        if found < wanted and not exact:
            texts += tuple(_others(others, wanted - found, texts))
        if not wanted or len(texts) < 2 + wanted or (exact and found != wanted):
            faults.add(f"{label}:{example.number}", f"negatives: {_unequal(found, wanted, exact=exact)}")
            continue
        others.extend(example.texts[2:])
        yield example._replace(texts=texts)
    if (fewer or more) and not faults.count:
        log.warning(
            "%s: most rows have %d negatives; examples with fewer (%d) get some of other rows, those with more (%d) "
            "keep the first %d", label, wanted, fewer, more, wanted,
        )  # fmt: skip


def _others(pool: deque[str], count: int, apart_from: tuple[str, ...]) -> list[str]:
    """`count` texts of the pool that are not among the others, or as many as there are; the next call begins later."""
    known, found = set(map(plain, apart_from)), list[str]()
    for _ in range(len(pool)):
        if len(found) == count:
            break
        if plain(pool[0]) not in known:
            found.append(pool[0])
            known.add(plain(pool[0]))
        pool.rotate(-1)
    return found


def _unequal(found: int, wanted: int, *, exact: bool) -> str:
    if not wanted:
        return "found none; allowed: at least one text; add one, or delete the row"
    because = "the file of vectors has one for each" if exact else "other rows have no other texts to fill up with"
    return (
        f"found {found or 'none'}; allowed: {wanted} as in most rows ({because}); "
        f"{'add some' if found < wanted else 'leave some out'}, or delete the row"
    )
