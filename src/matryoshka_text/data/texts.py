"""Texts alone, without labels or pairs: what a rotation is learned from."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from matryoshka_text.data.sources import SourceRows, read_source, sampled
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import Recipe, RotationSection

__all__ = ["different", "read_rotation_texts", "require_enough_texts", "rotation_texts"]


def different(texts: Iterable[str]) -> list[int]:
    """The place of the first of each text, case and blanks aside."""
    known: dict[str, int] = {}
    for place, text in enumerate(texts):
        known.setdefault(" ".join(text.casefold().split()), place)
    return list(known.values())


def read_rotation_texts(recipe: Recipe, found: Sequence[SourceRows]) -> dict[str, list[str]]:
    """The texts of the rotation's sources, by name; none without a rotation.

    `found` is what `read_sources` gives for the recipe's own data, which a rotation without sources reads.
    `DataError` with the faults of all its sources.
    """
    section = recipe.rotation
    if section is None:
        return {}
    if section.data is None:
        return {
            s.name: rotation_texts(rows, s.name, section, recipe.seed)
            for s, rows in zip(recipe.data, found, strict=True)
        }
    texts: dict[str, list[str]] = {}
    faults: list[str] = []
    for index, source in enumerate(section.data):
        try:
            rows = read_source(source, recipe.folder, key=f"rotation.data[{index}]", seed=recipe.seed)
            texts[source.name] = rotation_texts(rows, source.name, section, recipe.seed)
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return texts


def rotation_texts(rows: SourceRows, name: str, section: RotationSection, seed: int) -> list[str]:
    """The texts of all columns, cut, each once, row by row; at most `section.texts` of them, drawn by `seed`."""
    texts = [text[: section.max_characters] for text in chain.from_iterable(rows.texts)]
    first = different(texts)
    return [texts[first[i]] for i in sampled(len(first), section.texts, f"{seed}:rotation:{name}")]


def require_enough_texts(section: RotationSection, counts: Mapping[str, int], width: int) -> None:
    """`DataError`, a line each, for sources smaller than a neighbourhood, and for too few texts in all."""
    own = "data" if section.data is None else "rotation.data"
    least = section.neighbours + 2
    lines = [
        f"{own}[{index}]: found {count} different texts in {name!r}, {count - int(section.held_back * count)} of them "
        f"to learn from; allowed: at least {least}, a text with {section.neighbours} neighbours and one more; use more "
        "texts, or fewer rotation.neighbours"
        for index, (name, count) in enumerate(counts.items())
        if count - int(section.held_back * count) < least
    ]
    if sum(counts.values()) < 2 * width:
        lines.append(
            f"rotation: found {sum(counts.values())} different texts in all; allowed: at least {2 * width}, twice the "
            "width of the base; use more texts"
        )
    if lines:
        raise DataError("\n".join(lines))
