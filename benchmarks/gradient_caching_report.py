"""What gradient_caching.py prints: the table, the bars, and where the memory goes."""

import argparse
import gzip
import itertools
import json
from dataclasses import dataclass

from measure import table

from matryoshka_text.encoder import MatryoshkaEncoder

CACHED, KEPT, THEIRS = "ours, cached", "ours, graph kept", "CachedMultipleNegativesRanking"
# Chunks' worth of pairs with the longest texts.
LONGEST = 4


@dataclass(frozen=True)
class Taken:
    """One step: MiB before it and at its peak, seconds."""

    before: float
    peak: float
    seconds: float


def pairs_of(options: argparse.Namespace, count: int) -> tuple[list[tuple[str, str]], int]:
    """`count` pairs without a text that occurs twice, and how many of them are as the file has them.

    The pairs with the longest texts of the file come first, several chunks of them: every batch then has passes of the
    largest size, so that what a larger batch takes more is not a longer chunk.
    """
    seen: set[str] = set()
    found: list[tuple[str, str]] = []
    with gzip.open(options.data, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            texts = [row["anchor"], row["positive"]]
            keys = {" ".join(text.casefold().split()) for text in texts}
            if len(keys) == 2 and not keys & seen:
                seen |= keys
                found.append((texts[0], texts[1]))
    order = sorted(range(len(found)), key=lambda place: -max(map(len, found[place])))
    longest = order[: LONGEST * options.chunk]
    found = [found[place] for place in [*longest, *sorted(set(order) - set(longest))]]
    own = min(count, len(found))
    for number in range(len(found), count):
        first, second = found[number % len(found)]
        found.append((f"{first} {number}", f"{second} {number}"))
    return found[:count], own


def expected_peak(taken: dict[tuple[str, int], Taken], variant: str, batch: int) -> float:
    """MiB, from the largest batch that was measured; 0 before any was."""
    done = [(size, one) for (name, size), one in taken.items() if name == variant]
    if not done:
        return 0.0
    size, one = max(done, key=lambda pair: pair[0])
    return one.before + (one.peak - one.before) * batch / size


def growth(taken: dict[tuple[str, int], Taken], variant: str, batch: int) -> float | None:
    """KiB that a pair more takes, from the next smaller batch to this one; None for the smallest."""
    smaller = [size for name, size in taken if name == variant and size < batch]
    if not smaller:
        return None
    size = max(smaller)
    return (taken[variant, batch].peak - taken[variant, size].peak) * 2**10 / (batch - size)


def report(options: argparse.Namespace, taken: dict[tuple[str, int], Taken]) -> None:
    """Print the table, and what one more pair takes."""
    rows = []
    for (variant, batch), one in taken.items():
        each, kept = growth(taken, variant, batch), taken.get((KEPT, batch))
        rows.append(
            (
                f"{batch:,}",
                variant,
                f"{one.peak:,.0f}",
                "" if each is None else f"{each:,.1f}",
                f"{one.seconds:.1f}",
                f"{batch / one.seconds:.1f}",
                "" if kept is None else f"{one.seconds / kept.seconds:.2f}",
                "" if kept is None else f"{one.peak / kept.peak:.2f}",
            )
        )
    head = ("pairs", "variant", "peak MiB", "KiB a pair more", "seconds", "pairs/s", "x seconds, graph kept", "x peak")
    print(f"\n{table(head, rows)}\n")
    before = [one.before for (variant, _), one in taken.items() if variant == CACHED]
    print(f"before the step: {min(before):,.0f} to {max(before):,.0f} MiB (libraries, weights, moments, texts)")
    _explain(options, growth(taken, CACHED, max(options.batch)))


def _explain(options: argparse.Namespace, each: float | None) -> None:
    encoder = MatryoshkaEncoder(options.base, device="cpu")
    pairs, _ = pairs_of(options, min(2048, max(options.batch)))
    texts = list(itertools.chain(*pairs))
    tokens = sum(map(len, encoder.tokenizer(texts, truncation=True, max_length=options.max_length)["input_ids"]))
    vectors = 2 * encoder.width * 4 / 2**10
    letters, ids = (size / len(pairs) / 2**10 for size in (sum(map(len, texts)), 8 * tokens))
    print(
        f"of a pair: its texts {letters:.2f} KiB, token ids (int64) {ids:.2f} KiB for each of the tokenizer's outputs, "
        f"two vectors of {encoder.width} float32 {vectors:.1f} KiB"
    )
    if each is not None:
        print(
            f"{CACHED}, up to {max(options.batch):,} pairs: {each:.1f} KiB a pair more, {each / vectors:.1f} x vectors"
        )
        print("(first pass, loss's leaf, gradients on both: O(b d); far more: passes are still growing)")
