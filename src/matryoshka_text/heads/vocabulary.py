"""The vocabulary-tied masked-language head: logits over the words, from any prefix of a row."""

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from pydantic import Field
from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import Tensor, nn

from matryoshka_text.dims import check_dims
from matryoshka_text.encoder.foreign import read_json, require_allowed
from matryoshka_text.encoder.matryoshka import MatryoshkaEncoder
from matryoshka_text.encoder.opening import model_faults, require_token_rows
from matryoshka_text.encoder.schema import Foreign
from matryoshka_text.errors import ModelError
from matryoshka_text.files import write_whole
from matryoshka_text.heads.family import (
    FamilyTransform,
    backbone_of,
    called,
    empty_model,
    masked_language_model,
)
from matryoshka_text.heads.transform import NestedTransform

__all__ = ["SAVED_AS", "Cut", "VocabularyHead", "backbone_of", "masked_hidden", "vocabulary_matrix"]

log = logging.getLogger(__name__)

Cut = Literal["hidden", "transform", "nested"]
SAVED_AS = "mlm"
"""The head's name among a model's heads: its folder is heads/mlm."""

_VERSION = 1


class _Saved(Foreign):
    """config.json of a saved head."""

    version: Literal[1]
    cut: Cut
    dims: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    width: Annotated[int, Field(ge=1)]
    vocabulary: Annotated[int, Field(ge=1)]


def vocabulary_matrix(backbone: nn.Module) -> Float[Tensor, "v e"]:
    """The input embedding matrix of a transformers model: the parameter itself, so that a decoder made of it is tied.

    Where LoRA has a share in that layer it is the sum of the two, with gradient to the share.
    """
    layer: Any = backbone.get_input_embeddings()  # type: ignore[operator]
    if not hasattr(layer, "get_delta_weight"):
        return layer.weight
    matrix: Tensor = layer.get_base_layer().weight
    if layer.merged or layer.disable_adapters:
        return matrix
    with torch.autocast(matrix.device.type, enabled=False):
        for adapter in layer.active_adapters:
            if adapter in layer.lora_embedding_A:
                matrix = matrix + layer.get_delta_weight(adapter)
    return matrix


def masked_hidden(backbone: nn.Module, features: Mapping[str, Tensor], rows: Int[Tensor, " n"]) -> Float[Tensor, "n h"]:
    """The last hidden states of the tokens at the flat positions `rows` of the input, and of no others."""
    states: Tensor = backbone(**features, return_dict=True).last_hidden_state
    return states.flatten(0, 1).index_select(0, rows)


class VocabularyHead(nn.Module):
    """What the vocabulary matrix is multiplied with, and the decoder's bias; the matrix stays the encoder's own.

    The logits at prefix length m are rows(hidden)[:, :m] @ vocabulary_matrix(backbone)[:, :m].T + bias: the MRL-E of
    arXiv:2205.13147, section 3, with the embedding matrix as its weight. `cut` says what a prefix is a prefix of.

    - "hidden": the encoder's last hidden states, with no transform. A sentence embedding is their mean (or the first
      one), so both are cut at the same coordinates. A Dense module behind the pooling is not read.
    - "transform": the output of the checkpoint's own head transform (linear, activation, LayerNorm), the reading of the
      paper's BERT experiment. Linear and LayerNorm mix all coordinates, so a prefix has seen the tail: it is a
      prefix of the decoder's input, and none of the sentence embedding.
    - "nested": the output of `NestedTransform`, whose first m coordinates depend on the first m of the hidden state.

    `width` is the number of the matrix's columns that are read (all of them, unless the head was `truncated`), `dims`
    the prefix lengths asked for, and `fresh` names the weights of this head that the checkpoint lacked. With
    "transform", a family whose decoder has no bias keeps it 0 and frozen.
    """

    cut: Cut

    def __init__(
        self, cut: Cut, dims: tuple[int, ...], transform: nn.Module, bias: nn.Parameter, width: int, fresh: list[str]
    ) -> None:
        """`of` and `load` put the parts together."""
        super().__init__()
        self.cut, self.dims, self.width, self.fresh = cut, dims, width, tuple(fresh)
        self.transform, self.bias = transform, bias

    @classmethod
    def of(cls, encoder: MatryoshkaEncoder, *, cut: Cut, dims: Sequence[int], seed: int = 0) -> "VocabularyHead":
        """A head for the encoder from its checkpoint; what the checkpoint lacks is drawn from `seed`, and logged.

        A head that was saved with the model (heads/mlm) is taken where its cut, and for "nested" its dims, are those
        asked for. torch's random state is left as it was. `ModelError` if the family has no masked-language model,
        its decoder is not tied, "hidden" meets hidden states of another width than the matrix, or a dim exceeds the
        matrix, or the tokenizer has an id without a row in it; ValueError for dims that do not increase, or that begin
        with 1 for "nested".
        """
        name, matrix = called(encoder), vocabulary_matrix(backbone_of(encoder))
        checked = _checked_dims(dims, matrix.shape[1], name)
        _require_cut(cut, backbone_of(encoder).config.hidden_size, matrix.shape[1], name)
        require_token_rows(encoder, called(encoder))
        saved = _saved_beside(encoder, cut, checked)
        if saved is not None:
            return saved
        model, missing = masked_language_model(encoder, seed)
        head = _taken_from(model, cut, checked, missing=missing, seed=seed)
        found = (len(head.bias), head.width)
        if found != tuple(matrix.shape):
            raise ModelError(
                f"{name}: the vocabulary matrix in its checkpoint is {list(found)} and that of the opened encoder "
                f"{list(matrix.shape)}; save the encoder and open it from its folder"
            )
        if head.fresh:
            log.warning(
                "%s: the checkpoint has no whole masked-language head (bare encoders are saved without it); "
                "%d of the head's weights start fresh, from seed %d: %s",
                name,
                len(head.fresh),
                seed,
                ", ".join(head.fresh),
            )
        return head.to(matrix.device)

    def rows(self, hidden: Float[Tensor, "n h"]) -> Float[Tensor, "n e"]:
        """What the vocabulary matrix is multiplied with, for the hidden states of masked tokens."""
        rows: Tensor = self.transform(hidden)
        return rows

    def truncated(self, dim: int) -> "VocabularyHead":
        """The head of the first `dim` columns of the vocabulary matrix, a copy: its rows are the first `dim` of these.

        `ModelError` unless the cut is "nested"; ValueError if `dim` is no prefix length of its transform.
        """
        if not isinstance(self.transform, NestedTransform):
            why = {
                "transform": "its transform mixes all coordinates, so that every prefix needs the whole of it",
                "hidden": "the head has no transform, so that nothing but the encoder could become smaller",
            }[self.cut]
            raise ModelError(
                f"the cut is {self.cut!r}: {why}; give dim to fill and scores, which read a prefix of any head, or "
                "train with cut 'nested'"
            )
        transform = copy.deepcopy(self.transform) if dim == self.width else self.transform.truncated(dim)
        bias = nn.Parameter(self.bias.detach().clone(), requires_grad=self.bias.requires_grad)
        dims = tuple(one for one in self.dims if one <= dim)
        return VocabularyHead(
            cut=self.cut, dims=dims, transform=transform, bias=bias, width=dim, fresh=list(self.fresh)
        ).train(self.training)

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors, without the vocabulary matrix, which the encoder saves."""
        config = {
            "version": _VERSION,
            "cut": self.cut,
            "dims": list(self.dims),
            "width": self.width,
            "vocabulary": len(self.bias),
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        write_whole(folder / "model.safetensors", as_bytes(tensors))
        write_whole(folder / "config.json", json.dumps(config, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, encoder: MatryoshkaEncoder) -> "VocabularyHead":
        """The head saved in `folder`, on the vocabulary matrix of the encoder it was saved with.

        A "nested" head may read fewer columns than the matrix has. `ModelError` if it is damaged, of a later
        version, or made for another vocabulary or width, or the tokenizer has an id without a row in the matrix.
        """
        cut, dims, saved = _read_config(folder)
        matrix = vocabulary_matrix(backbone_of(encoder))
        require_token_rows(encoder, called(encoder))
        narrow = cut == "nested" and saved[1] < matrix.shape[1]
        if saved[0] != len(matrix) or (saved[1] != matrix.shape[1] and not narrow):
            raise ModelError(
                f"{folder}: a head for a vocabulary of {saved[0]} words and width {saved[1]}, but the matrix of "
                f"{called(encoder)} has {matrix.shape[0]} words and width {matrix.shape[1]}; "
                "open it with the model it was saved with"
            )
        with model_faults(str(folder), "give the folder of a whole saved head"):
            head = _taken_from(empty_model(encoder), cut, dims, missing=set(), seed=0, width=saved[1])
            head.load_state_dict(load_file(folder / "model.safetensors"), assign=True)
        return head.to(matrix.device)


def _checked_dims(dims: Sequence[int], width: int, name: str) -> tuple[int, ...]:
    for place, dim in enumerate(dims):
        if dim > width:
            raise ModelError(
                f"dims[{place}] is {dim}, but the vocabulary matrix of {name} is {width} wide; "
                f"use dims of at most {width} with masked-language modelling, or another base"
            )
    return check_dims(dims, width)


def _require_cut(cut: str, hidden: int, width: int, name: str) -> None:
    if cut not in get_args(Cut):
        raise ModelError(f"cut is {cut!r}; allowed: {', '.join(get_args(Cut))}")
    if cut == "hidden" and hidden != width:
        raise ModelError(
            f"cut is 'hidden', but the vocabulary matrix of {name} is {width} wide and its hidden states are {hidden}; "
            "use cut 'transform' or 'nested', which bring them to the matrix's width"
        )


def _taken_from(
    model: Any, cut: Cut, dims: tuple[int, ...], missing: set[str], seed: int, width: int | None = None
) -> VocabularyHead:
    """The head of a whole masked-language model, `width` columns wide (None: all); the model is taken apart."""
    decoder, matrix = model.get_output_embeddings(), model.get_input_embeddings().weight
    width = width or matrix.shape[1]
    named = list(model.named_parameters(remove_duplicate=False))
    has_bias = getattr(decoder, "bias", None) is not None
    homes = sorted(name for name, parameter in named if has_bias and parameter is decoder.bias)
    fresh = homes[:1] if missing.issuperset(homes) else []
    values = decoder.bias.detach().clone() if homes and not fresh else matrix.new_zeros(len(matrix))
    transform: nn.Module = nn.Identity()
    if cut == "transform":
        fresh += sorted(
            name for name, parameter in named if name in missing.difference(homes) and parameter is not matrix
        )
        transform = FamilyTransform(model)
    elif cut == "nested":
        # The loss reads no further than dims; the matrix is wider, and its row has to be as wide.
        ends = dims if dims[-1] == width else (*dims, width)
        inputs = model.config.hidden_size
        # As NestedTransform.truncated leaves it.
        transform = NestedTransform(inputs if width == matrix.shape[1] else min(inputs, width), ends, seed=seed)
    # Exported, a bias that the family's decoder does not have would be lost.
    bias = nn.Parameter(values.detach(), requires_grad=cut != "transform" or has_bias)
    return VocabularyHead(cut=cut, dims=dims, transform=transform, bias=bias, width=width, fresh=fresh)


def _saved_beside(encoder: MatryoshkaEncoder, cut: str, dims: tuple[int, ...]) -> VocabularyHead | None:
    """The head in the encoder's own folder; None if there is none of this cut (and, for "nested", these dims)."""
    folder = None if encoder.resolved is None else encoder.resolved.path / "heads" / SAVED_AS
    if folder is None or not folder.is_dir():
        return None
    head = VocabularyHead.load(folder, encoder)
    if head.cut != cut or (cut == "nested" and head.dims != dims):
        log.warning("%s: has cut %r and dims %s, not those asked for; it is not used", folder, head.cut, head.dims)
        return None
    head.dims = dims
    return head


def _read_config(folder: Path) -> tuple[Cut, tuple[int, ...], tuple[int, int]]:
    """The saved head's cut, dims, and the shape of its vocabulary matrix."""
    path = folder / "config.json"
    config = read_json(path)
    require_allowed(path, _Saved, config)
    saved = _Saved.model_validate(config)
    return saved.cut, tuple(saved.dims), (saved.vocabulary, saved.width)
