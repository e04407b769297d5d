"""The masked-language model of an encoder's family, opened and taken apart without knowing the family by name."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from matryoshka_text.encoder.matryoshka import MatryoshkaEncoder
from matryoshka_text.encoder.opening import model_faults
from matryoshka_text.errors import ModelError

__all__ = [
    "FamilyTransform",
    "backbone_of",
    "called",
    "empty_model",
    "full_model",
    "masked_language_model",
]


def called(encoder: MatryoshkaEncoder) -> str:
    """The encoder's name in messages."""
    return "the encoder" if encoder.resolved is None else encoder.resolved.name


def backbone_of(encoder: MatryoshkaEncoder) -> Any:
    """The encoder's transformers model; `ModelError` if it has none."""
    if encoder.transformers_model is None:
        raise ModelError(f"{called(encoder)}: holds no transformers model, so no vocabulary; take another base")
    return encoder.transformers_model


def _how(encoder: MatryoshkaEncoder) -> dict[str, Any]:
    """In float32, and with the model's own code if the encoder was opened with it."""
    return {"dtype": torch.float32, "trust_remote_code": bool(encoder.trust_remote_code)}


def masked_language_model(encoder: MatryoshkaEncoder, seed: int) -> tuple[Any, set[str]]:
    """The masked-language model in the encoder's own checkpoint, in float32, and the names of weights it lacked.

    What it lacks is drawn from `seed`; torch's random state is left as it was. An encoder that was made from modules
    has no checkpoint and lacks everything. `ModelError` if there is no such model, or its decoder is not tied.
    """
    from transformers import AutoModelForMaskedLM

    name, config = called(encoder), backbone_of(encoder).config
    way_out = "take a base whose family transformers has one for (AutoModelForMaskedLM)"
    faults = model_faults(name, way_out, what="cannot be opened as a masked-language model")
    with _seeded(seed), _unreported(), faults:
        if encoder.resolved is None or encoder.folder is None:
            model = AutoModelForMaskedLM.from_config(config, **_how(encoder))
            missing = {key for key, _ in model.named_parameters(remove_duplicate=False)}
        else:
            model, found = AutoModelForMaskedLM.from_pretrained(
                encoder.folder.home,
                **_how(encoder),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
            missing = set(found["missing_keys"])
    _require_tied(model, name)
    return model, {key for key in missing if not key.startswith(f"{model.base_model_prefix}.")}


def empty_model(encoder: MatryoshkaEncoder) -> Any:
    """The masked-language model of the encoder's configuration, its weights without memory (device meta)."""
    from transformers import AutoModelForMaskedLM

    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(backbone_of(encoder).config, **_how(encoder))
    _require_tied(model, called(encoder))
    return model


class FamilyTransform(nn.Module):
    """The family's own way from hidden states to what its decoder is multiplied with.

    It is the masked-language model itself, which is taken apart: its encoder is replaced by one that hands on the
    states it is given, and its decoder by the identity, so that its "logits" are the decoder's input.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        decoder = model.get_output_embeddings()
        # By its place in the tree: set_output_embeddings reads the new module's bias in some families.
        model.set_submodule(next(name for name, module in model.named_modules() if module is decoder), nn.Identity())
        setattr(model, model.base_model_prefix, _GivenStates())
        self.model = model
        self._drop_unused()

    def forward(self, hidden: Float[Tensor, "n h"]) -> Float[Tensor, "n e"]:
        """The decoder's input, for hidden states of any tokens."""
        return self.model(inputs_embeds=hidden[None], return_dict=True).logits[0]

    def _drop_unused(self) -> None:
        """Take out what the forward pass does not read: in most families a second home of the decoder's bias.

        An optimiser or DDP would stumble over a parameter that never gets a gradient.
        """
        named = dict(self.model.named_parameters())
        probe = torch.zeros(2, self.model.config.hidden_size, device=next(iter(named.values())).device)
        with torch.enable_grad():
            gradients = torch.autograd.grad(self(probe).sum(), list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is None:
                home, _, last = name.rpartition(".")
                setattr(self.model.get_submodule(home), last, None)


def full_model(encoder: MatryoshkaEncoder, transform: FamilyTransform, bias: Float[Tensor, " v"]) -> Any:
    """The family's masked-language model again, with copies of the encoder's weights and the head's, its decoder tied.

    `ModelError` if the encoder lacks a weight of it, or `bias` is not 0 and the family's decoder has none.
    """
    from transformers import AutoModelForMaskedLM

    backbone = backbone_of(encoder)
    # The random state is kept: building the model draws weights that are all overwritten.
    with _seeded(0):
        model = AutoModelForMaskedLM.from_config(copy.deepcopy(backbone.config), **_how(encoder))
    model = model.to(bias.device)
    lacking = set(model.base_model.load_state_dict(backbone.state_dict(), strict=False).missing_keys)
    decoder = model.get_output_embeddings()
    if lacking or (decoder.bias is None and bias.any()):
        what = f"lacks {sorted(lacking)}" if lacking else "has a decoder bias"
        raise ModelError(f"{called(encoder)}: {what}, so that {type(model).__name__} cannot hold it; save the encoder")
    model.load_state_dict(transform.model.state_dict(), strict=False)
    if decoder.bias is not None:
        with torch.no_grad():
            decoder.bias.copy_(bias)
    model.tie_weights()
    return model.eval()


class _GivenStates(nn.Module):
    """In an encoder's place: its hidden states are what comes in."""

    def forward(self, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None, **_: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=inputs_embeds)


def _require_tied(model: Any, name: str) -> None:
    """`ModelError` if the model's decoder is not its input embedding matrix."""
    decoder, matrix = model.get_output_embeddings(), model.get_input_embeddings().weight
    weight = getattr(decoder, "weight", None)
    if weight is matrix:
        return
    found = "no decoder" if weight is None else f"a decoder {list(weight.shape)} of its own"
    raise ModelError(
        f"{name}: {type(model).__name__} has {found} next to the vocabulary matrix {list(matrix.shape)} "
        f"(tie_word_embeddings is {getattr(model.config, 'tie_word_embeddings', None)}); allowed: a decoder that is "
        "the vocabulary matrix. Set tie_word_embeddings to true in its config.json, which drops the other decoder, "
        "or take another base"
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The CPU's random state from `seed`, where weights are drawn; afterwards as before. No GPU's state is touched."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


@contextmanager
def _unreported() -> Iterator[None]:
    """None of transformers' own report of missing weights (the caller names them), and no progress bar."""
    from transformers.utils import logging as reports

    level, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity(reports.CRITICAL)
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(level)
        if bars:
            reports.enable_progress_bar()
