"""Which of a model's prompts a caller asks for: by its words, by its name, or by the role of the texts."""

from typing import Literal

from matryoshka_text.encoder.compat import SentenceTransformer
from matryoshka_text.errors import ModelError

__all__ = ["ROLES", "Role", "asked_prompt"]

Role = Literal["query", "document"]
ROLES: tuple[Role, ...] = ("query", "document")


def asked_prompt(encoder: SentenceTransformer, *, prompt: str | None, name: str | None) -> str | None:
    """The words to put before each text: `prompt`, or the model's prompt of that name; None if neither is given.

    `ModelError` for both, and for a name that the model does not have.
    """
    if prompt is not None and name is not None:
        raise ModelError("--prompt and --prompt-name are both given; allowed: one of them; leave one out")
    if name is None:
        return prompt
    if name not in encoder.prompts:
        raise ModelError(f"--prompt-name: found {name!r}; allowed: {', '.join(sorted(encoder.prompts))}")
    words: str = encoder.prompts[name]
    return words
