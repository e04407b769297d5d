"""Token ids of many texts, held as flat arrays: tokenized once, put together into passes as they are wanted."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from matryoshka_text.encoder.compat import PADDED, SentenceTransformer, padding_of, token_rows, unpadded

__all__ = ["TokenIds", "usable_tokens"]

# Texts a call of the tokenizer: its Python lists take some 40 bytes a token until they are packed.
_AT_ONCE = 1024
_LETTERS_AT_ONCE = 2**20
# Tokenizers without a limit say so with a number above this.
_UNLIMITED = 10**6


class TokenIds:
    """The token ids of some texts, as an encoder's own preprocessing gives them: prompt, cut, special tokens."""

    def __init__(
        self, encoder: SentenceTransformer, texts: Sequence[str], prompt: str | None, settings: Mapping[str, Any]
    ) -> None:
        """`settings` are those of `encode` that go to the encoder's preprocessing, `task` among them."""
        self._pads, self._left = padding_of(encoder)
        self._unpadded = unpadded(encoder)
        lengths: list[int] = []
        packed: dict[str, list[np.ndarray]] = {}
        self._common: dict[str, Any] = {}
        for part in _pieces(texts):
            # Packed at once: what a tokenizer returns also holds the tokens that it has cut off.
            piece = token_rows(encoder, part, prompt, settings)
            lengths += map(len, piece["input_ids"])
            for name, value in piece.items():
                if name in PADDED:
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


def usable_tokens(encoder: SentenceTransformer) -> int | None:
    """The most tokens of a sequence that the encoder's transformers model can read; None if nothing limits them.

    It is the number of its positions, less those that no token gets: in families that count positions from the padding
    token's id on (RoBERTa, MPNet), that id and one more. sentence-transformers' max_seq_length is a habit of the
    sentence model and not read. Without positions, the tokenizer's own limit counts.
    """
    backbone: Any = encoder.transformers_model
    positions = getattr(backbone.config, "max_position_embeddings", None)
    if positions is None or positions < 1:
        most = getattr(encoder.tokenizer, "model_max_length", _UNLIMITED)
        return int(most) if most < _UNLIMITED else None
    # Only a table whose positions begin behind the padding token's has a row for padding. LoRA wraps tables.
    unused = [
        int(table.padding_idx) + 1
        for name, table in backbone.named_modules()
        if "position_embeddings" in name.split(".") and getattr(table, "padding_idx", None) is not None
    ]
    return int(positions) - max(unused, default=0)


def _pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts of each call of the tokenizer, in order."""
    start = letters = 0
    for place, text in enumerate(texts):
        letters += len(text)
        if letters >= _LETTERS_AT_ONCE or place + 1 - start == _AT_ONCE or place + 1 == len(texts):
            yield texts[start : place + 1]
            start, letters = place + 1, 0


def _packed(rows: Sequence[Sequence[int]]) -> Int[np.ndarray, " tokens"]:
    return np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=sum(map(len, rows)))


def _int64(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))
