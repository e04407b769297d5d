"""What a run trains, encoder, adapter, heads and learned factors, and its teacher, from their recipe sections."""

import copy
import logging
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from matryoshka_text.data import Examples
from matryoshka_text.data.packing import PackedTexts
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.layout import SavedHead
from matryoshka_text.encoder.lora import add_adapter
from matryoshka_text.encoder.resolve import beside
from matryoshka_text.errors import ModelError, RecipeError
from matryoshka_text.heads.class_head import ClassHead
from matryoshka_text.heads.uncertainty import Uncertainty
from matryoshka_text.heads.vocabulary import VocabularyHead
from matryoshka_text.objectives import Stream
from matryoshka_text.recipe import Recipe

__all__ = [
    "Trained",
    "build_adapter",
    "build_encoder",
    "build_teacher",
    "build_trained",
    "start_bias",
]

log = logging.getLogger(__name__)


class Trained(nn.Module):
    """The encoder, its heads and the learned factors of the dims.

    A head that a loss owned would be updated but neither stored nor clipped: a resume would reset it.
    """

    encoder: MatryoshkaEncoder

    def __init__(
        self,
        encoder: MatryoshkaEncoder,
        vocabulary: VocabularyHead | None = None,
        classes: ClassHead | None = None,
        learned: Uncertainty | None = None,
    ) -> None:
        """The parts that the recipe asks for."""
        super().__init__()
        self.encoder, self.vocabulary, self.classes, self.learned = encoder, vocabulary, classes, learned

    def from_scratch(self) -> list[nn.Parameter]:
        """Parameters that no checkpoint brought: they learn at the heads' own rate."""
        fresh: list[nn.Parameter] = []
        # The nested transform is never part of a checkpoint of transformers.
        if self.vocabulary is not None and (self.vocabulary.fresh or self.vocabulary.cut == "nested"):
            fresh += self.vocabulary.parameters()
        for part in (self.classes, self.learned):
            if part is not None:
                fresh += part.parameters()
        return [parameter for parameter in fresh if parameter.requires_grad]

    def heads(self) -> dict[str, SavedHead]:
        """The heads by name, as they are saved with the encoder."""
        named: dict[str, SavedHead | None] = {"mlm": self.vocabulary, "classifier": self.classes}
        return {name: head for name, head in named.items() if head is not None}


def build_encoder(recipe: Recipe, device: torch.device) -> MatryoshkaEncoder:
    """The recipe's base, in float32, on `device`, with its own dims, and the recipe's prompts next to its own."""
    base = recipe.base
    encoder = MatryoshkaEncoder(
        beside(base.model, recipe.folder),
        revision=base.revision,
        pooling=base.pooling,
        device=str(device),
        trust_remote_code=base.trust_remote_code,
        prompts=dict(base.prompts),
    )
    # Not an argument above: a name that does not exist is a fault of the recipe, not of the model.
    encoder.default_prompt_name = base.default_prompt_name or encoder.default_prompt_name
    own = encoder.folder.prompts if encoder.folder is not None else {}
    for name, words in base.prompts.items():
        if (before := own.get(name)) and before != words:
            log.warning("base.prompts.%s: %r takes the place of %s's own %r", name, words, base.model, before)
    return encoder


def build_teacher(recipe: Recipe, encoder: MatryoshkaEncoder) -> MatryoshkaEncoder | None:
    """The frozen teacher of `distill`: a copy of the untrained `encoder`, or another model; None if none is run."""
    spec = recipe.objective("distill")
    if spec is None or spec.vectors:
        return None
    if spec.teacher is None:
        teacher = copy.deepcopy(encoder)
    else:
        teacher = MatryoshkaEncoder(
            beside(spec.teacher, recipe.folder),
            device=str(encoder.device),
            trust_remote_code=spec.teacher_trust_remote_code,
            prompts=dict(spec.teacher_prompts),
        )
    return teacher.requires_grad_(False).eval()


def build_adapter(recipe: Recipe, encoder: MatryoshkaEncoder) -> None:
    """Put the recipe's LoRA matrices into `encoder`, the same ones for the same seed; nothing without `lora`."""
    if recipe.lora is None:
        return
    torch.manual_seed(recipe.seed)
    targets = recipe.lora.target_modules
    try:
        add_adapter(
            encoder,
            rank=recipe.lora.rank,
            alpha=recipe.lora.alpha,
            dropout=recipe.lora.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
        )
    except ValueError as error:
        raise RecipeError(
            f"lora.target_modules is {targets!r}, which names nothing that can be adapted ({error}); "
            "allowed: all-linear, or names of its linear layers, such as [query, value]"
        ) from error


def build_trained(recipe: Recipe, encoder: MatryoshkaEncoder, streams: Mapping[Stream, Examples]) -> Trained:
    """The encoder with the heads its objectives need and the learned factors, the same for the same seed."""
    mlm, classify = recipe.objective("mlm"), recipe.objective("classify")
    vocabulary = classes = learned = None
    if mlm is not None:
        try:
            vocabulary = VocabularyHead.of(encoder, cut=mlm.cut, dims=recipe.lengths, seed=recipe.seed)
        except ModelError:
            raise
        except ValueError as error:
            raise RecipeError(
                f"dims are {list(recipe.lengths)}, and objective mlm with cut {mlm.cut}: {error}"
            ) from error
    if classify is not None:
        classes = ClassHead(
            streams["labelled"].classes,
            width=encoder.width,
            dims=recipe.lengths,
            kind=classify.head,
            scale=classify.scale,
            seed=recipe.seed,
        )
    if recipe.weights == "learned":
        learned = Uncertainty([spec.kind for spec in recipe.objectives], len(recipe.lengths))
    return Trained(encoder, vocabulary, classes, learned).to(encoder.device)


def start_bias(head: VocabularyHead, packed: PackedTexts) -> None:
    """Start a decoder bias that no checkpoint brought at the log frequency of the words in the training text.

    From 0 it would need thousands of steps to learn how rare words are, which a small prefix has no other way to say.
    Each word counts one time more than it was seen.
    """
    if not head.bias.requires_grad or head.bias.any():
        return
    counts = torch.from_numpy(np.bincount(packed.flat, minlength=len(head.bias))).to(head.bias)
    with torch.no_grad():
        head.bias.copy_(((counts + 1) / (counts + 1).sum()).log())
