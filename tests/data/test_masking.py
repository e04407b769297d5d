from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matryoshka_text.data.masking import Masker
from matryoshka_text.errors import ModelError

CLS, SEP, UNK, MASK, PAD = 2, 3, 1, 4, 0


@pytest.fixture(scope="module")
def tokenizer(family: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(family("bert"))


def _sequences(count: int, length: int = 40, seed: int = 0) -> list[np.ndarray]:
    """[CLS] words [SEP], an unknown word in each, ids from 5 up."""
    random = np.random.default_rng(seed)
    rows = random.integers(5, 286, size=(count, length)).astype(np.int32)
    rows[:, 0], rows[:, -1], rows[:, 7] = CLS, SEP, UNK
    return list(rows)


def _keys(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    return [(seed, 5, index) for index in range(count)]


@pytest.mark.parametrize(("share", "count"), [(0.15, 6), (0.5, 19), (1.0, 37), (0.001, 1), (1.5 / 37, 2)])
def test_exactly_the_rounded_share_of_the_ordinary_tokens_is_predicted(
    tokenizer: Any, share: float, count: int
) -> None:
    sequences = _sequences(50)
    for before, masked in zip(sequences, Masker(tokenizer, share).mask(sequences, keys=_keys(50)), strict=True):
        assert len(masked.positions) == len(masked.targets) == count  # of 40 - [CLS] - [SEP] - [UNK]
        assert sorted(set(masked.positions.tolist())) == masked.positions.tolist()
        assert not np.isin(before[masked.positions], [CLS, SEP, UNK]).any()
        np.testing.assert_array_equal(before[masked.positions], masked.targets)
        rest = np.setdiff1d(np.arange(40), masked.positions)
        np.testing.assert_array_equal(masked.ids[rest], before[rest])


def test_the_three_replacements_have_their_shares(tokenizer: Any) -> None:
    sequences = _sequences(3000)
    masked = Masker(tokenizer).mask(sequences, keys=_keys(3000))
    after = np.concatenate([m.ids[m.positions] for m in masked])
    target = np.concatenate([m.targets for m in masked])
    kept, hidden = after == target, after == MASK
    assert len(after) == 18000
    # Four standard deviations of a share of 18000 draws; 1 in 281 random tokens is the old one.
    assert abs(hidden.mean() - 0.8) < 0.012
    assert abs(kept.mean() - 0.1 - 0.1 / 281) < 0.009
    drawn = after[~hidden & ~kept]
    assert abs(len(drawn) / 18000 - 0.1 + 0.1 / 281) < 0.009
    assert drawn.min() == 5 and drawn.max() == 285
    assert len(np.unique(drawn)) == 281
    places = np.bincount(np.concatenate([m.positions for m in masked]), minlength=40)
    assert places[[0, 7, 39]].tolist() == [0, 0, 0]
    usual = np.delete(places, [0, 7, 39]) / 3000
    assert np.abs(usual - 6 / 37).max() < 0.035


def test_a_replacement_alone(tokenizer: Any) -> None:
    sequences = _sequences(20)
    (hidden, drawn, kept) = (
        Masker(tokenizer, 0.3, replace).mask(sequences, keys=_keys(20))
        for replace in [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    )
    assert all((m.ids[m.positions] == MASK).all() for m in hidden)
    assert all((m.ids == before).all() for m, before in zip(kept, sequences, strict=True))
    changed = np.concatenate([m.ids[m.positions] != m.targets for m in drawn])
    assert changed.mean() > 0.95
    assert all((m.ids[m.positions] > MASK).all() for m in drawn)


def test_a_draw_depends_on_its_key_alone(tokenizer: Any) -> None:
    masker, sequences = Masker(tokenizer), _sequences(12)
    whole = masker.mask(sequences, keys=_keys(12))
    np.random.seed(1)
    torch.manual_seed(1)
    parts = [masker.mask([sequences[i]], keys=[_keys(12)[i]])[0] for i in reversed(range(12))][::-1]
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.positions, other.positions)
    moved = masker.mask(sequences, keys=_keys(12, seed=1))
    assert all((one.positions != other.positions).any() for one, other in zip(whole, moved, strict=True))


def test_a_sequence_of_special_tokens_has_nothing_masked(tokenizer: Any) -> None:
    (masked,) = Masker(tokenizer).mask([np.asarray([CLS, UNK, SEP])], keys=[(0,)])
    assert masked.ids.tolist() == [CLS, UNK, SEP] and not len(masked.positions) and not len(masked.targets)


@pytest.mark.parametrize("share", [0.02, 0.15, 0.5, 1.0])
def test_whole_words_are_never_split(tokenizer: Any, share: float) -> None:
    random = np.random.default_rng(0)
    sequences = _sequences(200)
    words = [np.cumsum(random.random(40) < 0.5) for _ in sequences]
    for numbers in words:
        numbers[[0, 39]] = -1
    masker = Masker(tokenizer, share, (1.0, 0.0, 0.0), whole_words=True)
    exact = 0
    for numbers, before, masked in zip(
        words, sequences, masker.mask(sequences, keys=_keys(200), words=words), strict=True
    ):
        chosen = set(numbers[masked.positions].tolist())
        ordinary = ~np.isin(before, [CLS, SEP, UNK])
        expected = np.flatnonzero(ordinary & np.isin(numbers, list(chosen)))
        np.testing.assert_array_equal(masked.positions, expected)
        count = max(int(share * 37 + 0.5), 1)
        assert len(masked.positions) <= count or len(chosen) == 1
        assert len(masked.positions) >= 1
        exact += len(masked.positions) == count
    assert exact > 100


def test_tokens_without_a_word_are_words_of_their_own(tokenizer: Any) -> None:
    ids = np.arange(10, 30)
    masker = Masker(tokenizer, 0.25, whole_words=True)
    (masked,) = masker.mask([ids], keys=[(0,)], words=[np.full(20, -1)])
    assert len(masked.positions) == 5


def test_chunks_are_padded_batches_of_like_length(tokenizer: Any) -> None:
    sequences = [row[: 4 + 3 * index] for index, row in enumerate(_sequences(5))][::-1]
    masked = Masker(tokenizer, 0.3).mask(sequences, keys=_keys(5))
    chunks = Masker(tokenizer).chunks(masked, 2)
    assert [tuple(chunk.features["input_ids"].shape) for chunk in chunks] == [(2, 7), (2, 13), (1, 16)]
    seen = []
    for chunk in chunks:
        ids, attention = chunk.features["input_ids"], chunk.features["attention_mask"]
        assert set(chunk.features) == {"input_ids", "attention_mask"}
        assert (ids[attention == 0] == PAD).all() and (ids[attention == 1] != PAD).all()
        assert chunk.tokens == int(attention.sum())
        seen += list(zip(ids.flatten()[chunk.rows].tolist(), chunk.target.tolist(), strict=True))
    expected = [
        pair for m in masked[::-1] for pair in zip(m.ids[m.positions].tolist(), m.targets.tolist(), strict=True)
    ]
    assert seen == expected
    (whole,) = Masker(tokenizer).chunks(masked, None)
    assert whole.features["input_ids"].shape == (5, 16)
    assert whole.features["attention_mask"].sum(1).tolist() == [16, 13, 10, 7, 4]
    assert Masker(tokenizer).chunks([], 2) == Masker(tokenizer).chunks([], None) == []
    assert whole.to(torch.device("meta")).rows.is_meta


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 0.0}, "share is 0.0; allowed: above 0, at most 1"),
        ({"share": 1.1}, "share is 1.1"),
        ({"replace": (0.8, 0.1)}, r"replace is \[0.8, 0.1\]; allowed: three shares"),
        ({"replace": (0.8, 0.1, 0.2)}, "that add up to 1"),
        ({"replace": (1.1, -0.1, 0.0)}, "that add up to 1"),
    ],
)
def test_shares_that_are_none(tokenizer: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Masker(tokenizer, **settings)


@pytest.mark.parametrize("kind", ["mask", "pad"])
def test_a_tokenizer_without_a_mask_or_padding_token(family: Callable[[str], Path], kind: str) -> None:
    from transformers import AutoTokenizer

    bare = AutoTokenizer.from_pretrained(family("bert"))
    setattr(bare, f"{kind}_token", None)
    with pytest.raises(ModelError, match=f"tokenizer of .* has no {kind} token, which masked-language modelling needs"):
        Masker(bare)


def test_what_a_call_may_lack(tokenizer: Any) -> None:
    sequences = _sequences(2)
    with pytest.raises(ValueError, match="keys has 1 entries; allowed is one for each of the 2 sequences"):
        Masker(tokenizer).mask(sequences, keys=[(0,)])
    with pytest.raises(ModelError, match="whole_words needs each token's word"):
        Masker(tokenizer, whole_words=True).mask(sequences, keys=_keys(2))


def test_special_and_unknown_tokens_are_not_maskable(tokenizer: Any) -> None:
    masker = Masker(tokenizer)
    assert masker.maskable(np.asarray([CLS, UNK, UNK, MASK, SEP, PAD], dtype=np.int32)) == 0
    assert [masker.maskable(ids) for ids in _sequences(3)] == [37, 37, 37]
