"""Texts as the encoder's input: cut to the batch's own length, in chunks of like length."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["Chunk", "Tokenizer", "like_lengths", "moved", "pinned"]

Collate = Callable[[list[dict[str, list[int]]]], Mapping[str, Any]]


@dataclass(frozen=True)
class Chunk:
    """The input of one forward pass, and the positions of its texts in the whole."""

    features: dict[str, Any]
    positions: Tensor
    tokens: int

    def of_role(self, role: str | None, start: int) -> "Chunk":
        """The same chunk, its texts `start` places further back in the whole and of that role, for a Router to see."""
        if role is None:
            return self
        return Chunk({**self.features, "task": role}, self.positions + start, self.tokens)

    def to(self, device: torch.device) -> "Chunk":
        """The same chunk on another device; the host does not wait for pinned memory to be copied."""
        return Chunk(moved(self.features, device), self.positions.to(device, non_blocking=True), self.tokens)

    def pinned(self) -> "Chunk":
        """The same chunk in memory that a GPU reads by itself."""
        return Chunk(pinned(self.features), self.positions.pin_memory(), self.tokens)


def moved(features: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The features on another device; what is no tensor stays as it is."""
    return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in features.items()}


def pinned(features: Mapping[str, Any]) -> dict[str, Any]:
    """The features in pinned memory; what is no tensor stays as it is."""
    return {k: v.pin_memory() if isinstance(v, Tensor) else v for k, v in features.items()}


class Tokenizer:
    """An encoder's tokenizer with a length of its own.

    The training length belongs to the batch: set on the encoder it would be saved with the model and cut every later
    document (8.9 points of nDCG in one test). So this works on a copy.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        collate: Collate | None = None,
        left_out: Callable[[str], int] = lambda prompt: 0,
    ) -> None:
        """`tokenizer` is a transformers tokenizer; `max_length` counts tokens, the special ones among them.

        `collate` makes a pass's features of the texts' own, for a backbone that reads them without padding; None pads.
        `left_out` is how many tokens of a prompt the pooling leaves out.
        """
        self._tokenizer = copy.deepcopy(tokenizer)
        self._collate = self._padded if collate is None else collate
        self.max_length = max_length
        self._left_out = left_out

    def chunks(
        self, texts: Sequence[str], most: int | None, tokens: int | None = None, *, prompts: Sequence[str] | None = None
    ) -> list[Chunk]:
        """The texts, sorted by length so that little is padded, in chunks of at most `most`, or of `tokens` padded.

        Neither: all in one chunk, in their own order. Each of `prompts` is put before its text. Texts whose prompts the
        pooling leaves out share a chunk only if those are equally long.
        """
        prompts = [""] * len(texts) if prompts is None else prompts
        whole = [prompt + text for prompt, text in zip(prompts, texts, strict=True)]
        # Each text is tokenized once: a batch's chunks are cut from what is known already.
        found = self._tokenizer(whole, truncation=True, max_length=self.max_length)
        rows = [{name: found[name][i] for name in found} for i in range(len(texts))]
        lengths = np.asarray([len(row["input_ids"]) for row in rows])
        left_out = np.asarray([self._left_out(prompt) for prompt in prompts])
        chunks = []
        for count in np.unique(left_out):
            places = np.flatnonzero(left_out == count)
            # The name is sentence-transformers': its Pooling reads one number for all texts of a pass.
            common = {"prompt_length": int(count)} if count else {}
            for part in like_lengths(lengths[places], most, tokens):
                chunks.append(self._chunk(rows, lengths, places[part], common))
        return chunks

    def _chunk(
        self, rows: list[dict[str, list[int]]], lengths: np.ndarray, part: np.ndarray, common: Mapping[str, int]
    ) -> Chunk:
        features = {**self._collate([rows[i] for i in part]), **common}
        return Chunk(features, torch.from_numpy(part.copy()), int(lengths[part].sum()))

    def _padded(self, rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        pads = {"input_ids": self._tokenizer.pad_token_id, "token_type_ids": self._tokenizer.pad_token_type_id}
        left = self._tokenizer.padding_side == "left"
        features = {}
        for name in rows[0]:
            filled = np.full((len(rows), longest), pads.get(name, 0), dtype=np.int64)
            for place, row in enumerate(rows):
                start = longest - len(row[name]) if left else 0
                filled[place, start : start + len(row[name])] = row[name]
            features[name] = torch.from_numpy(filled)
        return features


def like_lengths(
    lengths: Int[np.ndarray, " rows"], most: int | None, tokens: int | None = None
) -> list[Int[np.ndarray, " _"]]:
    """Indices of rows, the shortest first, in parts of at most `most` rows, or of `tokens` once all are padded alike.

    A row longer than `tokens` is a part of its own. Neither: one part, in the rows' own order.
    """
    if tokens is None:
        order = np.arange(len(lengths)) if most is None else np.argsort(lengths, kind="stable")
        step = most or max(len(lengths), 1)
        return [order[start : start + step] for start in range(0, len(order), step)]
    order = np.argsort(lengths, kind="stable")
    parts, start = [], 0
    while start < len(order):
        stop = start + 1
        # Sorted upwards, so the row that joins is the longest of its part.
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= tokens:
            stop += 1
        parts.append(order[start:stop])
        start = stop
    return parts
