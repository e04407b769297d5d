"""The prompts of a rotation's texts: one for all sources, or one for each."""

from collections.abc import Sequence
from dataclasses import dataclass

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.prompts import asked_prompt
from matryoshka_text.errors import DataError

__all__ = ["AskedPrompts", "Words"]

# One for all sources, or one for each, in their order.
Words = str | Sequence[str] | None


@dataclass(frozen=True)
class AskedPrompts:
    """Prompts by their words or by the model's names for them; without either, each text gets what `encode` puts."""

    prompt: Words = None
    name: Words = None

    def by_source(self, encoder: MatryoshkaEncoder, sources: int) -> tuple[str | None, ...]:
        """The prompt of each source; None: what `encode` puts there. `DataError` for another number of prompts."""
        words, names = _each("--prompt", self.prompt, sources), _each("--prompt-name", self.name, sources)
        return tuple(asked_prompt(encoder, prompt=one, name=name) for one, name in zip(words, names, strict=True))


def _each(option: str, given: Words, sources: int) -> list[str | None]:
    if given is None or isinstance(given, str):
        return [given] * sources
    if len(given) not in (0, 1, sources):
        raise DataError(f"{option}: found {len(given)} for {sources} sources; allowed: one for all, or one for each")
    return [*given] if len(given) == sources else [given[0] if given else None] * sources
