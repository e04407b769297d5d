"""How a model's passes are run on this machine: nothing of it changes what is trained, but for the last bits."""

from dataclasses import dataclass
from typing import Any

import torch

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import RecipeError

__all__ = ["Runtime"]


@dataclass(frozen=True)
class Runtime:
    """`compile` runs the backbone through torch.compile; `attention` names transformers' implementation of it.

    None leaves the implementation that transformers takes by itself. With `flash_attention_2` texts are read without
    padding where the backbone can.
    """

    compile: bool = False
    attention: str | None = None

    def apply(self, encoder: MatryoshkaEncoder) -> None:
        """Nothing; the encoder runs so from now on. `RecipeError` for an attention that it or this machine lacks."""
        transformer: Any = encoder[0]
        if self.attention is not None:
            try:
                transformer.model.set_attn_implementation(self.attention)
            except (ValueError, ImportError) as error:
                raise RecipeError(
                    f"--attention: found {self.attention!r}, which {type(transformer.model).__name__} cannot use here "
                    f"({error}); allowed: sdpa, eager, and what is installed beside them, such as flash_attention_2; "
                    "leave it out for transformers' own choice"
                ) from error
            # Asked again: whether inputs may go in without padding depends on the attention.
            transformer.unpad_inputs = transformer.unpad_inputs
        if self.compile:
            # The bound method alone: the weights keep their names, and sentence-transformers calls `forward` itself,
            # which nn.Module.compile would miss. Lengths differ from pass to pass.
            transformer.model.forward = torch.compile(transformer.model.forward, dynamic=True)
