"""Prompts in a run: whether they leave room for texts, whether the teacher has them, and what is said of them."""

import logging
from collections.abc import Iterator, Mapping

from matryoshka_text.data import Examples
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import RecipeError
from matryoshka_text.objectives import Stream
from matryoshka_text.prompts import ModelPrompts
from matryoshka_text.recipe import HeldOut, Recipe, Source
from matryoshka_text.recipe.prompts import Prompts
from matryoshka_text.recipe.sources import prompt_names

__all__ = ["prompt_lines", "require_prompts", "training_length"]

log = logging.getLogger(__name__)


def training_length(encoder: MatryoshkaEncoder, max_length: int) -> int:
    """Tokens of a text in training, its prompt and the special ones among them."""
    return min(max_length, encoder.max_seq_length or max_length)


def require_prompts(
    recipe: Recipe,
    encoder: MatryoshkaEncoder,
    teacher: MatryoshkaEncoder | None,
    streams: Mapping[Stream, Examples],
) -> None:
    """`RecipeError` for prompts that leave no room for a text, and for prompts that another teacher does not have.

    A prompt that takes more than half of the room is logged.
    """
    lines = list(_too_long(recipe, encoder, {n: s for n, s in streams.items() if n != "text"}, key="base.prompts"))
    if teacher is not None and "pairs" in streams:
        place = recipe.objectives.index(recipe.objective("distill"))
        pairs = {"pairs": streams["pairs"]}
        key = f"objectives[{place}].teacher_prompts"
        names = {name for names in streams["pairs"].prompts for name in names if name}
        lines += [
            f"{key}: found no {name!r}, which a source asks for, and the teacher's own are "
            f"{', '.join(sorted(teacher.prompts))}; allowed: every name that a source of pairs asks for; add it"
            for name in sorted(names - set(teacher.prompts))
        ]
        lines += _too_long(recipe, teacher, pairs, key=key)
    if lines:
        raise RecipeError("\n".join(lines))


def _too_long(
    recipe: Recipe, encoder: MatryoshkaEncoder, streams: Mapping[str, Examples], *, key: str
) -> Iterator[str]:
    known, most = ModelPrompts.of(encoder), training_length(encoder, recipe.batch.max_length)
    used = {name or known.default for found in streams.values() for names in found.prompts for name in names}
    for name in sorted(name for name in used if name and known.text(name)):
        # The special tokens count too: they stand before and behind every text.
        taken = len(encoder.tokenizer(known.text(name))["input_ids"])
        said = f"{key}.{name}: found a prompt of {taken} tokens, of {most} that a text may have with it"
        if taken >= most:
            yield f"{said}; allowed: fewer; shorten it, or raise batch.max_length if the model reads more"
        elif 2 * taken > most:
            log.warning("%s; longer texts are cut", said)


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
