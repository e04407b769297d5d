from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matryoshka_text.data.masking import Masker
from matryoshka_text.data.packing import PackedTexts, pack
from matryoshka_text.errors import DataError, ModelError

TEXTS = [
    "the cat is sleeping on the red chair",
    "",
    "money transfer",
    "a man and a woman are playing guitar in the street, and the dog too",
    " ",
    "what is the answer to the question?",
]


@pytest.fixture(scope="module")
def tokenizer(family: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(family("bert"))


@pytest.fixture(scope="module")
def byte_tokenizer() -> Any:
    """A byte-level BPE in RoBERTa's format, trained on the texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(TEXTS, trainer)
    raw.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        cls_token="<s>", sep_token="</s>", mask_token="<mask>",
    )  # fmt: skip


def _all(packed: PackedTexts) -> list[list[int]]:
    return [packed.ids(index).tolist() for index in range(len(packed))]


@pytest.mark.parametrize("which", ["tokenizer", "byte_tokenizer"])
@pytest.mark.parametrize("max_length", [3, 8, 13, 500])
def test_packed_windows_hold_all_texts_in_order(which: str, max_length: int, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(which)
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    packed = pack(TEXTS, tokenizer, max_length=max_length, packing=True)
    sequences = _all(packed)
    assert all(sequence[0] == start and sequence[-1] == end for sequence in sequences)
    assert {len(sequence) for sequence in sequences[:-1]} <= {max_length} and 3 <= len(sequences[-1]) <= max_length
    stream = [token for sequence in sequences for token in sequence[1:-1]]
    bare = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    expected = [token for ids in bare if ids for token in [end, *ids]][1:]
    assert stream == expected
    places = [index for index, ids in enumerate(bare) if ids for _ in range(len(ids) + 1)][1:]
    assert packed.first_text.tolist() == places[:: max_length - 2]
    assert packed.flat.dtype == np.int32 and packed.words is not None and packed.words.dtype == np.int32


@pytest.mark.parametrize("which", ["tokenizer", "byte_tokenizer"])
@pytest.mark.parametrize("max_length", [3, 8, 500])
def test_unpacked_texts_are_cut_each_by_itself(which: str, max_length: int, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(which)
    packed = pack(TEXTS, tokenizer, max_length=max_length, packing=False)
    whole = tokenizer(TEXTS, truncation=True, max_length=max_length)["input_ids"]
    kept = [index for index, ids in enumerate(whole) if len(ids) > 2]
    assert _all(packed) == [whole[index] for index in kept]
    assert packed.first_text.tolist() == kept


@pytest.mark.parametrize("which", ["tokenizer", "byte_tokenizer"])
def test_words_are_numbered_through_all_texts(which: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(which)
    for packing in (True, False):
        packed = pack(TEXTS, tokenizer, max_length=200, packing=packing)
        words: dict[int, list[int]] = {}
        assert packed.words is not None
        for token, word in zip(packed.flat.tolist(), packed.words.tolist(), strict=True):
            if word < 0:
                assert token in tokenizer.all_special_ids
            else:
                words.setdefault(word, []).append(token)
        decoded = [tokenizer.decode(tokens).replace(" ##", "").strip() for tokens in words.values()]
        expected = [w for text in TEXTS for w in text.replace(",", " ,").replace("?", " ?").split()]
        assert [word for word in decoded if word] == expected  # a blank alone is a word of byte-level BPE
        assert list(words) == sorted(words)


def test_whole_words_of_packed_text_are_masked_whole(byte_tokenizer: Any) -> None:
    packed = pack(TEXTS * 30, byte_tokenizer, max_length=64, packing=True)
    indices = range(len(packed))
    words = [packed.words_of(i) for i in indices]
    masker = Masker(byte_tokenizer, 0.15, whole_words=True)
    masked = masker.mask([packed.ids(i) for i in indices], keys=[(0, i) for i in indices], words=words)
    for numbers, sequence in zip(words, masked, strict=True):
        assert numbers is not None
        expected = np.flatnonzero(np.isin(numbers, numbers[sequence.positions]))
        np.testing.assert_array_equal(sequence.positions, expected)
    assert any(len(m.positions) > len(set(w[m.positions].tolist())) for w, m in zip(words, masked, strict=True))


def test_many_lines_and_batches_of_the_tokenizer_change_nothing(tokenizer: Any) -> None:
    lines = [f"{TEXTS[index % 6]} {index}" for index in range(2345)]
    packed = pack(lines, tokenizer, max_length=32, packing=False)
    assert len(packed) == 2345
    for index in (0, 999, 1000, 2344):
        assert packed.ids(index).tolist() == tokenizer(lines[index], truncation=True, max_length=32)["input_ids"]


def test_the_tokenizer_is_left_as_it_was(tokenizer: Any) -> None:
    tokenizer("the cat", truncation=True, max_length=4, padding="max_length")
    before = tokenizer.backend_tokenizer.truncation, tokenizer.backend_tokenizer.padding
    pack(TEXTS, tokenizer, max_length=16, packing=True)
    assert (tokenizer.backend_tokenizer.truncation, tokenizer.backend_tokenizer.padding) == before


def test_a_tokenizer_without_word_ids_packs_without_words() -> None:
    class Slow:
        is_fast = False
        sep_token_id = eos_token_id = None

        def num_special_tokens_to_add(self) -> int:
            return 1

        def __call__(self, texts: str | list[str], add_special_tokens: bool = True, **_: Any) -> dict[str, Any]:
            rows = [[ord(c) for c in text] for text in ([texts] if isinstance(texts, str) else texts)]
            rows = [[1, *row] if add_special_tokens else row for row in rows]
            return {"input_ids": rows[0] if isinstance(texts, str) else rows}

    packed = pack(["ab", "c"], Slow(), max_length=3, packing=True)
    assert _all(packed) == [[1, 97, 98], [1, 99]]
    assert packed.words is None and packed.words_of(0) is None


@pytest.mark.parametrize("packing", [True, False])
def test_what_cannot_be_packed(tokenizer: Any, packing: bool) -> None:
    with pytest.raises(DataError, match="none of the 2 texts has a token; give text"):
        pack(["", " "], tokenizer, max_length=16, packing=packing)
    with pytest.raises(ValueError, match=r"max_length is 2, and the tokenizer adds 2 special tokens .* at least 3"):
        pack(TEXTS, tokenizer, max_length=2, packing=packing)

    class Odd:
        sep_token_id = 1

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            return {"input_ids": [9, 8] if add_special_tokens else [7]}

        def num_special_tokens_to_add(self) -> int:
            return 1

    with pytest.raises(ModelError, match=r"makes \[9, 8\] of 'a', which is not \[7\] between special tokens"):
        pack(TEXTS, Odd(), max_length=16, packing=packing)
