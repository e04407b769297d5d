"""Token ids of many texts, held as flat arrays: tokenized once, put together into passes as they are wanted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from matryoshka_text.encoder.unpadded import unpadded

__all__ = ["TokenIds", "can_tokenize_once"]

# Texts a call of the tokenizer: its Python lists take some 40 bytes a token until they are packed.
_AT_ONCE = 1024
_LETTERS_AT_ONCE = 2**20
_PADDED = {"input_ids", "token_type_ids", "attention_mask"}
# What a caller may set for the tokenizer without changing how texts become rows.
_LENGTH = {"max_length", "truncation"}


def can_tokenize_once(encoder: SentenceTransformer, settings: Mapping[str, Any]) -> bool:
    """Whether the encoder's texts are plain rows of token ids, so that they can be tokenized ahead and padded here.

    `settings` are those of `encode` that go to its preprocessing. False for images, chat templates, query expansion,
    routers, modules with a preprocessing of their own and tokenizers told to pad to a length.
    """
    module: Any = encoder[0]
    if type(module) is not Transformer or not isinstance(module.processor, PreTrainedTokenizerBase):
        return False
    given = [module.processing_kwargs or {}, settings.get("processing_kwargs") or {}]
    return (
        module.transformer_task == "feature-extraction"
        and module.query_expansion is None
        and set(module.modality_config) == {"text"}
        and set(module.processor.model_input_names) <= _PADDED
        and module.processor.pad_token_id is not None
        and all(set(words) <= {"text"} and set(words.get("text") or {}) <= _LENGTH for words in given)
    )


class TokenIds:
    """The token ids of some texts, as an encoder's own preprocessing gives them: prompt, cut, special tokens."""

    def __init__(
        self, encoder: SentenceTransformer, texts: Sequence[str], prompt: str | None, settings: Mapping[str, Any]
    ) -> None:
        """`settings` are those of `encode` that go to the encoder's preprocessing, `task` among them."""
        module: Any = encoder[0]
        self._pads = {
            "input_ids": module.processor.pad_token_id,
            "token_type_ids": module.processor.pad_token_type_id,
        }
        self._left = module.processor.padding_side == "left"
        self._unpadded = unpadded(encoder)
        lengths: list[int] = []
        packed: dict[str, list[np.ndarray]] = {}
        self._common: dict[str, Any] = {}
        for part in _pieces(texts):
            # Packed at once: what a tokenizer returns also holds the tokens that it has cut off.
            piece = _tokenized(module, part, prompt, settings)
            lengths += map(len, piece["input_ids"])
            for name, value in piece.items():
                if name in _PADDED:
                    packed.setdefault(name, []).append(_packed(value))
                else:
                    # What is no token id (the modality, the prompt's length) is the same for every pass.
                    self._common[name] = value
            del piece, value  # before the next is made
        self.lengths = np.asarray(lengths)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self._flat = {name: np.concatenate(parts) for name, parts in packed.items()}

    def features(self, rows: Int[np.ndarray, " rows"]) -> dict[str, Any]:
        """The input of one pass over these texts, padded to the longest of them; unpadded where the backbone can."""
        if self._unpadded is not None:
            return {**self._unpadded([self._row(row) for row in rows]), **self._common}
        lengths = self.lengths[rows, None]
        longest = int(lengths.max())
        place = np.arange(longest) - (longest - lengths if self._left else 0)
        real = (place >= 0) & (place < lengths)
        taken = np.where(real, place + self._starts[rows, None], 0)
        features: dict[str, Any] = {
            name: _int64(np.where(real, flat[taken], self._pads.get(name, 0))) for name, flat in self._flat.items()
        }
        return {**features, **self._common}

    def _row(self, row: int) -> dict[str, list[int]]:
        start, stop = self._starts[row], self._starts[row + 1]
        return {name: flat[start:stop].tolist() for name, flat in self._flat.items()}


def _pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts of each call of the tokenizer, in order."""
    start = letters = 0
    for place, text in enumerate(texts):
        letters += len(text)
        if letters >= _LETTERS_AT_ONCE or place + 1 - start == _AT_ONCE or place + 1 == len(texts):
            yield texts[start : place + 1]
            start, letters = place + 1, 0


def _tokenized(module: Any, texts: Sequence[str], prompt: str | None, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    asked = (settings.get("processing_kwargs") or {}).get("text") or {}
    ours = {"text": {**asked, "padding": False}, "common": {"return_tensors": None}}
    with _rows_kept_apart(module):
        found: Mapping[str, Any] = module.preprocess(
            list(texts), prompt=prompt, **{**settings, "processing_kwargs": ours}
        )
    return found


@contextmanager
def _rows_kept_apart(module: Any) -> Iterator[None]:
    """Inside, the module's preprocessing does not join texts into one row: which ones share a pass is not known yet."""
    before = module.can_flatten_inputs
    module.can_flatten_inputs = False
    try:
        yield
    finally:
        module.can_flatten_inputs = before


def _packed(rows: Sequence[Sequence[int]]) -> Int[np.ndarray, " tokens"]:
    return np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=sum(map(len, rows)))


def _int64(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))
