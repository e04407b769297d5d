"""Which tokens of a sequence are masked: decided from a key, whoever asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int, Int64
from torch import Tensor

from matryoshka_text.data.passes import like_lengths, moved, pinned
from matryoshka_text.errors import ModelError

__all__ = ["MaskedChunk", "MaskedSequence", "Masker"]


@dataclass(frozen=True)
class MaskedSequence:
    """A sequence's ids after masking, the positions the loss reads (ascending), and the ids that stood there."""

    ids: Int64[np.ndarray, " length"]
    positions: Int64[np.ndarray, " masked"]
    targets: Int64[np.ndarray, " masked"]


@dataclass(frozen=True)
class MaskedChunk:
    """The input of one forward pass [sequences, longest], the masked tokens' flat positions in it, and their ids.

    `tokens` counts the tokens, padding aside.
    """

    features: dict[str, Tensor]
    rows: Int[Tensor, " masked"]
    target: Int[Tensor, " masked"]
    tokens: int

    def to(self, device: torch.device) -> "MaskedChunk":
        """The same chunk on another device; the host does not wait for pinned memory to be copied."""
        rows, target = (part.to(device, non_blocking=True) for part in (self.rows, self.target))
        return MaskedChunk(moved(self.features, device), rows, target, self.tokens)

    def pinned(self) -> "MaskedChunk":
        """The same chunk in memory that a GPU reads by itself."""
        return MaskedChunk(pinned(self.features), self.rows.pin_memory(), self.target.pin_memory(), self.tokens)


class Masker:
    """BERT's masking (arXiv:1810.04805, section 3.1), drawn anew for each key."""

    def __init__(
        self,
        tokenizer: Any,
        share: float = 0.15,
        replace: Sequence[float] = (0.8, 0.1, 0.1),
        whole_words: bool = False,
    ) -> None:
        """`share` of the tokens is predicted; of those, `replace` become the mask token, a random one, or stay.

        `ModelError` if the tokenizer has no mask token or no padding token; ValueError for shares that are none.
        """
        for kind in ("mask", "pad"):
            if getattr(tokenizer, f"{kind}_token_id", None) is None:
                raise ModelError(
                    f"{_called(tokenizer)} has no {kind} token, which masked-language modelling needs; "
                    f"add one (tokenizer.add_special_tokens) to a model that knows it, or take another base"
                )
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}; allowed: above 0, at most 1")
        if len(replace) != 3 or min(replace) < 0 or abs(sum(replace) - 1) > 1e-6:
            raise ValueError(f"replace is {list(replace)}; allowed: three shares (mask, random, kept) that add up to 1")
        self._share, self._bounds, self._whole_words = share, np.cumsum(replace)[:2], whole_words
        self._mask, self._pad = int(tokenizer.mask_token_id), int(tokenizer.pad_token_id)
        self._special = np.unique(np.asarray(tokenizer.all_special_ids, dtype=np.int64))
        ordinary = set(tokenizer.get_vocab().values()) - set(self._special.tolist())
        self._ordinary = np.asarray(sorted(ordinary), dtype=np.int64)

    def mask(
        self,
        ids: Sequence[Int[np.ndarray, " _"]],
        *,
        keys: Sequence[tuple[int, ...]],
        words: Sequence[Int[np.ndarray, " _"] | None] | None = None,
    ) -> list[MaskedSequence]:
        """Each sequence masked by a draw that depends on its own key (whole numbers of at least 0) and nothing else.

        Special tokens, the unknown one among them, are never chosen. Of the n others, share * n rounded to the nearest
        whole number (halves up), but at least one, are chosen: exactly that many tokens, without replacement. Each
        chosen token then becomes the mask token, a token drawn from the whole vocabulary without the special ones, or
        stays, with the probabilities `replace`, independently. A sequence of only special tokens has nothing masked.

        With `whole_words`, `words` numbers each token's word (-1: none, a word of its own). Words are taken in random
        order, one that would exceed the count is passed over (Devlin et al.'s own code does so), and where even the
        shortest of them exceeds it the first one drawn is taken; no word is chosen in part.
        """
        if len(keys) != len(ids):
            raise ValueError(f"keys has {len(keys)} entries; allowed is one for each of the {len(ids)} sequences")
        if self._whole_words and (words is None or any(numbers is None for numbers in words)):
            raise ModelError(
                "whole_words needs each token's word, which only a fast tokenizer gives; "
                "leave whole_words out, or take a base with a fast tokenizer (tokenizer.json)"
            )
        numbers = words if self._whole_words and words is not None else [None] * len(ids)
        return [self._masked(*each) for each in zip(ids, keys, numbers, strict=True)]

    def maskable(self, ids: Int[np.ndarray, " _"]) -> int:
        """How many of the ids may be chosen: all but the special ones and the unknown one."""
        return int(np.count_nonzero(self._is_maskable(ids)))

    def chunks(
        self, masked: Sequence[MaskedSequence], most: int | None, tokens: int | None = None
    ) -> list[MaskedChunk]:
        """The sequences, sorted by length so that little is padded, in chunks of at most `most`, or of `tokens` padded.

        Neither: all in one chunk, in their own order.
        """
        lengths = np.asarray([len(sequence.ids) for sequence in masked], dtype=np.int64)
        return [self._chunk([masked[i] for i in part]) for part in like_lengths(lengths, most, tokens)]

    def _is_maskable(self, ids: Int[np.ndarray, " _"]) -> Bool[np.ndarray, " _"]:
        return ~np.isin(ids, self._special)

    def _masked(self, ids: np.ndarray, key: tuple[int, ...], words: np.ndarray | None) -> MaskedSequence:
        random = np.random.Generator(np.random.PCG64(list(key)))
        original = np.asarray(ids, dtype=np.int64)
        maskable = np.flatnonzero(self._is_maskable(original))
        count = min(max(int(self._share * len(maskable) + 0.5), 1), len(maskable))
        if words is None:
            positions = np.sort(random.permutation(maskable)[:count])
        else:
            positions = _whole(maskable, np.asarray(words)[maskable], count, random)
        kinds = np.searchsorted(self._bounds, random.random(len(positions)), side="right")
        drawn = self._ordinary[random.integers(len(self._ordinary), size=len(positions))]
        targets, after = original[positions], original.copy()
        after[positions] = np.choose(kinds, [np.full_like(targets, self._mask), drawn, targets])
        return MaskedSequence(after, positions, targets)

    def _chunk(self, part: list[MaskedSequence]) -> MaskedChunk:
        longest = max(len(sequence.ids) for sequence in part)
        ids = np.full((len(part), longest), self._pad, dtype=np.int64)
        attention = np.zeros_like(ids)
        for row, sequence in enumerate(part):
            ids[row, : len(sequence.ids)] = sequence.ids
            attention[row, : len(sequence.ids)] = 1
        rows = np.concatenate([sequence.positions + row * longest for row, sequence in enumerate(part)])
        return MaskedChunk(
            {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(attention)},
            torch.from_numpy(rows),
            torch.from_numpy(np.concatenate([sequence.targets for sequence in part])),
            int(attention.sum()),
        )


def _whole(maskable: np.ndarray, words: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Positions of whole words, at most `count` unless the only word taken is longer."""
    # A token without a word is a word of its own, under a number that no word has.
    alone = np.where(words < 0, -1 - np.arange(len(words)), words)
    _, member = np.unique(alone, return_inverse=True)
    sizes = np.bincount(member)
    order = random.permutation(len(sizes))
    taken: list[int] = []
    left = count
    for word in order.tolist():
        if left <= 0:
            break
        if sizes[word] <= left:
            taken.append(word)
            left -= int(sizes[word])
    chosen = taken or order[:1].tolist()
    return maskable[np.isin(member, chosen)]


def _called(tokenizer: Any) -> str:
    name = getattr(tokenizer, "name_or_path", "")
    return f"the tokenizer of {name}" if name else "the tokenizer"
