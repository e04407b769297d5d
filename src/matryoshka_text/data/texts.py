"""Only texts, without labels or pairs: what a rotation is learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matryoshka_text.data.draw import Draw
from matryoshka_text.data.sources import SourceRows, read_source
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import Recipe, RotationSection, Source
from matryoshka_text.recipe.sources import prompt_names

__all__ = ["RotationTexts", "read_rotation_texts", "require_enough_texts", "rotation_texts"]


@dataclass(frozen=True)
class RotationTexts:
    """The texts of a source of a rotation, and for each the name of its prompt; None: the one that `encode` uses."""

    texts: list[str]
    prompts: list[str | None]

    def __len__(self) -> int:
        return len(self.texts)


def read_rotation_texts(recipe: Recipe, found: Sequence[SourceRows]) -> dict[str, RotationTexts]:
    """The texts of the rotation's sources, by name; none without a rotation.

    `found` is what `read_sources` gives for the recipe's own data, which a rotation without sources reads.
    `DataError` with the faults of all its sources.
    """
    section = recipe.rotation
    if section is None:
        return {}
    if section.data is None:
        both = zip(recipe.data, found, strict=True)
        return {source.name: rotation_texts(source, rows, section, recipe.seed) for source, rows in both}
    texts: dict[str, RotationTexts] = {}
    faults: list[str] = []
    for index, source in enumerate(section.data):
        try:
            rows = read_source(source, recipe.folder, key=f"rotation.data[{index}]", seed=recipe.seed)
            texts[source.name] = rotation_texts(source, rows, section, recipe.seed)
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return texts


def rotation_texts(source: Source, rows: SourceRows, section: RotationSection, seed: int) -> RotationTexts:
    """The texts of all columns, cut, each once, row by row; at most `section.texts` of them, drawn by `seed`.

    A text that is in two columns gets the prompt of the one where it is read first.
    """
    draw, names = Draw(section.texts, seed), prompt_names(source, len(rows.columns))
    for row in rows.texts():
        for text, name in zip(row, names, strict=True):
            draw.add(text[: section.max_characters], name)
    drawn = draw.tagged()
    return RotationTexts([text for text, _ in drawn], [name for _, name in drawn])


def require_enough_texts(section: RotationSection, counts: Mapping[str, int], width: int) -> None:
    """`DataError`, a line each, for sources smaller than a neighbourhood, and for too few texts in all."""
    own = "data" if section.data is None else "rotation.data"
    least = section.neighbours + 2
    lines = [
        f"{own}[{index}]: found {count} different texts in {name!r}, {count - int(section.held_back * count)} of them "
        f"to learn from; allowed: at least {least}, a text with {section.neighbours} neighbours and one more; use more "
        f"texts, or fewer rotation.neighbours{_or_raise(section, count)}"
        for index, (name, count) in enumerate(counts.items())
        if count - int(section.held_back * count) < least
    ]
    if sum(counts.values()) < 2 * width:
        lines.append(
            f"rotation: found {sum(counts.values())} different texts in all; allowed: at least {2 * width}, twice the "
            f"width of the base; use more texts{_or_raise(section, max(counts.values(), default=0))}"
        )
    if lines:
        raise DataError("\n".join(lines))


def _or_raise(section: RotationSection, count: int) -> str:
    """The other way out, where the most texts of a source may be what keeps the others away."""
    return f", or raise rotation.texts ({section.texts})" if count == section.texts else ""
