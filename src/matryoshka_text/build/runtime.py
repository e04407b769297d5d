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
        """Apply the settings to the encoder. `RecipeError` for an attention that it or this machine lacks."""
        transformer: Any = encoder[0]
        if self.attention is not None:
            try:
                transformer.model.set_attn_implementation(self.attention)
            except (ValueError, ImportError) as error:
                raise RecipeError(
                    f"--attention: found {self.attention!r}, which {type(transformer.model).__name__} cannot use here "
                    f"({error}); allowed: what it has and this machine has installed, such as sdpa or eager; "
                    "leave it out for transformers' own choice"
                ) from error
            if transformer.model.config._attn_implementation != self.attention:
                raise RecipeError(
                    f"--attention: found {self.attention!r}, but {type(transformer.model).__name__} has "
                    f"{transformer.model.config._attn_implementation!r} only; leave --attention out"
                )
            # Asked again: whether inputs may go in without padding depends on the attention.
            transformer.unpad_inputs = transformer.unpad_inputs
        if self.compile:
            # Only the bound method is replaced: the weights keep their names, and sentence-transformers calls `forward`
            # itself, which nn.Module.compile would miss. Lengths differ from pass to pass.
            transformer.model.forward = torch.compile(transformer.model.forward, dynamic=True)

    def require_works(self, encoder: MatryoshkaEncoder, *, bf16: bool) -> None:
        """`RecipeError` if the attention asked for cannot train this encoder in this precision.

        Some cannot with dropout, some only in half precision; what they say of it comes with the first pass.
        """
        if self.attention is None:
            return
        was_training = encoder.training
        state = torch.get_rng_state()
        try:
            features = encoder.preprocess(["a pass to try", "it"])
            features = {k: v.to(encoder.device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
            with torch.autocast(encoder.device.type, dtype=torch.bfloat16, enabled=bf16):
                encoder.train()(features)["sentence_embedding"].float().sum().backward()
        except (ValueError, RuntimeError, ImportError, NotImplementedError) as error:
            name, precision = type(encoder[0].model).__name__, "bf16" if bf16 else "float32"
            raise RecipeError(
                f"--attention: found {self.attention!r}, with which {name} cannot be trained in {precision} here "
                f"({error}); leave --attention out, or try another one or another precision"
            ) from error
        finally:
            encoder.zero_grad(set_to_none=True)
            encoder.train(was_training)
            torch.set_rng_state(state)
