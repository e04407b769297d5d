"""Plain text as token sequences: whole windows of it, or one text each."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from matryoshka_text.errors import DataError, ModelError

__all__ = ["PackedTexts", "pack"]

_AT_ONCE = 1000
"""Texts given to the tokenizer in one call: enough for its threads, few enough to hold as Python objects."""

Ids = Int32[np.ndarray, " _"]  # every sequence has a length of its own


@dataclass(frozen=True)
class PackedTexts:
    """Token sequences with their special tokens, one after the other in flat arrays.

    `words` numbers the words (equal numbers: one word; no number is used by two texts; -1: a special token), and is
    None if the tokenizer cannot say. Sequence i is `flat[starts[i]:starts[i + 1]]`; its first token of text comes
    from text `first_text[i]`.
    """

    flat: Int32[np.ndarray, " tokens"]
    words: Int32[np.ndarray, " tokens"] | None
    starts: Int64[np.ndarray, " sequences_and_one"]
    first_text: Int64[np.ndarray, " sequences"]

    def __len__(self) -> int:
        return len(self.first_text)

    def ids(self, index: int) -> Ids:
        """The token ids of one sequence."""
        return self.flat[self.starts[index] : self.starts[index + 1]]

    def words_of(self, index: int) -> Ids | None:
        """The word numbers of one sequence; None if the tokenizer cannot say."""
        return None if self.words is None else self.words[self.starts[index] : self.starts[index + 1]]


@dataclass(frozen=True)
class _Frame:
    """The special tokens before and after each sequence, and the one between two texts."""

    prefix: list[int]
    suffix: list[int]
    separator: list[int]


@dataclass(frozen=True)
class _Stream:
    """The bare tokens of all texts, and which text each belongs to."""

    ids: Int32[np.ndarray, " length"]
    words: Int32[np.ndarray, " length"]
    text: Int64[np.ndarray, " length"]


def pack(texts: Sequence[str], tokenizer: Any, *, max_length: int, packing: bool) -> PackedTexts:
    """The texts as sequences of at most `max_length` tokens, the special ones among them.

    `packing`: the texts one after the other, the separator token between two, cut every `max_length` tokens; only the
    last sequence may be shorter, and a word may be cut in two. Otherwise each text is a sequence, and what exceeds
    `max_length` is dropped. Texts without any token are left out; `DataError` if none has one. ValueError if
    `max_length` leaves no room next to the special tokens.
    """
    # The call settings (truncation, padding) stay in a fast tokenizer, and this one belongs to the encoder.
    tokenizer = copy.deepcopy(tokenizer)
    frame = _frame(tokenizer)
    room = max_length - len(frame.prefix) - len(frame.suffix)
    if room < 1:
        raise ValueError(
            f"max_length is {max_length}, and the tokenizer adds {max_length - room} special tokens to each sequence; "
            f"allowed: at least {max_length - room + 1}"
        )
    stream = _stream(texts, tokenizer, frame.separator if packing else [], most=None if packing else room)
    if not len(stream.ids):
        raise DataError(f"none of the {len(texts)} texts has a token; give text")
    if packing:
        cuts = np.arange(0, len(stream.ids), room, dtype=np.int64)
    else:
        cuts = np.flatnonzero(np.diff(stream.text, prepend=-1)).astype(np.int64)
    return _framed(stream, cuts, frame, known_words=bool(tokenizer.is_fast))


def _frame(tokenizer: Any) -> _Frame:
    """What the tokenizer puts round a sequence, read off one (fast tokenizers have no method that says it)."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    starts = [i for i in range(len(whole) - len(bare) + 1) if whole[i : i + len(bare)] == bare]
    if not bare or not starts or len(whole) - len(bare) != tokenizer.num_special_tokens_to_add():
        raise ModelError(
            f"the tokenizer makes {whole} of 'a', which is not {bare} between special tokens; "
            "allowed: a tokenizer that puts its special tokens before and after the text"
        )
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    return _Frame(whole[: starts[0]], whole[starts[0] + len(bare) :], [] if end is None else [end])


def _stream(texts: Sequence[str], tokenizer: Any, separator: list[int], most: int | None) -> _Stream:
    """All texts' tokens, `separator` between two texts, at most `most` tokens of each."""
    ids: list[Ids] = []
    words: list[Ids] = []
    owners: list[int] = []
    next_word = 0
    for index, text_ids, text_words in _tokens(texts, tokenizer):
        if not len(text_ids):
            continue
        before = separator if ids else []
        ids.append(np.asarray([*before, *text_ids[:most]], dtype=np.int32))
        numbers = np.where(text_words < 0, -1, text_words + next_word)[:most]
        words.append(np.concatenate([np.full(len(before), -1), numbers]).astype(np.int32))
        next_word += int(text_words.max(initial=-1)) + 1
        owners.append(index)
    lengths = [len(part) for part in ids]
    return _Stream(_joined(ids), _joined(words), np.repeat(np.asarray(owners, dtype=np.int64), lengths))


def _tokens(texts: Sequence[str], tokenizer: Any) -> Iterator[tuple[int, list[int], np.ndarray]]:
    """Each text's index, bare token ids and word numbers (-1: none)."""
    for start in range(0, len(texts), _AT_ONCE):
        found = tokenizer(
            list(texts[start : start + _AT_ONCE]),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        for place, ids in enumerate(found["input_ids"]):
            words = found.word_ids(place) if tokenizer.is_fast else [None] * len(ids)
            yield start + place, ids, np.asarray([-1 if word is None else word for word in words], dtype=np.int64)


def _framed(stream: _Stream, cuts: Int64[np.ndarray, " sequences"], frame: _Frame, *, known_words: bool) -> PackedTexts:
    """The stream cut before each position of `cuts`, every piece between the special tokens."""
    before, after = len(frame.prefix), len(frame.suffix)
    ends = np.append(cuts[1:], len(stream.ids))
    starts = np.concatenate([[0], np.cumsum(ends - cuts + before + after)]).astype(np.int64)
    special = np.full(starts[-1], -1, dtype=np.int32)
    for offset, token in enumerate(frame.prefix):
        special[starts[:-1] + offset] = token
    for offset, token in enumerate(reversed(frame.suffix), start=1):
        special[starts[1:] - offset] = token
    # Token t of sequence s moves by the special tokens of all sequences up to its own prefix.
    shift = np.arange(len(cuts)) * (before + after) + before
    places = np.arange(len(stream.ids)) + np.repeat(shift, ends - cuts)
    words = np.full(starts[-1], -1, dtype=np.int32)
    words[places] = stream.words
    special[places] = stream.ids
    return PackedTexts(special, words if known_words else None, starts, stream.text[cuts])


def _joined(parts: list[Ids]) -> Ids:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
