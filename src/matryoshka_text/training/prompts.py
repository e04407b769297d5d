"""Prompts in a run: whether they leave room for texts, whether the teacher has them, and what is said of them."""

import logging
from collections.abc import Iterator, Sequence

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import RecipeError
from matryoshka_text.prompts import ModelPrompts
from matryoshka_text.recipe import HeldOut, Recipe, Source
from matryoshka_text.recipe.prompts import Prompts
from matryoshka_text.recipe.sources import prompt_names, stream_of

__all__ = ["prompt_lines", "require_prompts", "training_length"]

log = logging.getLogger(__name__)


def training_length(encoder: MatryoshkaEncoder, max_length: int) -> int:
    """Tokens of a text in training, its prompt and the special ones among them."""
    return min(max_length, encoder.max_seq_length or max_length)


def require_prompts(recipe: Recipe, encoder: MatryoshkaEncoder, teacher: MatryoshkaEncoder | None) -> None:
    """`RecipeError` for prompts that leave no room for a text, and for prompts that another teacher does not have.

    A prompt that takes more than half of the room is logged.
    """
    if not recipe.objectives:
        return
    lines = _too_long(recipe, encoder, [source for source in recipe.data if source.kind != "text"], "base.prompts")
    if teacher is not None:
        key = f"objectives[{recipe.objectives.index(recipe.objective('distill'))}].teacher_prompts"
        pairs = [source for source in recipe.data if stream_of(source.kind) == "pairs"]
        lines += [
            f"{key}: found no {name!r}, which a source asks for, and the teacher's own are "
            f"{', '.join(sorted(teacher.prompts))}; allowed: every name that a source of pairs asks for; add it"
            for name in sorted(_names(pairs) - {None, "", *teacher.prompts}, key=str)
        ]
        lines += _too_long(recipe, teacher, pairs, key)
    if lines:
        raise RecipeError("\n".join(lines))


def _names(sources: Sequence[Source]) -> set[str | None]:
    return {name for source in sources for name in prompt_names(source, len(source.roles[source.kind]))}


def _too_long(recipe: Recipe, encoder: MatryoshkaEncoder, sources: Sequence[Source], key: str) -> list[str]:
    known, most = ModelPrompts.of(encoder), training_length(encoder, recipe.batch.max_length)
    lines = []
    for name in sorted({known.default if name is None else name for name in _names(sources)} - {None}, key=str):
        # The special tokens count too: they stand before and behind every text.
        taken = len(encoder.tokenizer(known.text(name))["input_ids"])
        said = f"{key}.{name}: found a prompt of {taken} tokens, of {most} that a text may have with it"
        if known.text(name) and taken >= most:
            lines.append(f"{said}; allowed: fewer; shorten it, or raise batch.max_length if the model reads more")
        elif known.text(name) and 2 * taken > most:
            log.warning("%s; longer texts are cut", said)
    return lines


def prompt_lines(recipe: Recipe) -> Iterator[str]:
    """A line for each source and held-out set of a resolved recipe that has a prompt: what is put before its texts."""
    rotation, evaluation = recipe.rotation, recipe.evaluation
    turned = () if rotation is None else rotation.data or recipe.data
    trained = [source for source in recipe.data if source.kind != "text" and source not in turned]
    sections: list[Source | HeldOut] = [*turned, *trained, *(evaluation.data if evaluation is not None else ())]
    for section in sections:
        roles = Prompts.roles(section.roles[section.kind])
        prompts = [recipe.prompts.text(name) for name in prompt_names(section, len(roles))]
        if any(prompts):
            by_role = zip(roles, prompts, strict=True)
            yield f"{section.name}: " + ", ".join(f"{role} {prompt!r}" for role, prompt in by_role)
