"""`encode` in passes of ours against sentence-transformers' own, on the same weights."""

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from matryoshka_text.encoder import MatryoshkaEncoder, encode, tokens
from matryoshka_text.encoder.compat import is_plain_text

WORDS = "the cat is sleeping on my bank account and a woman plays guitar in the street near red water".split()
TEXTS = [" ".join(WORDS[(7 * i + j) % len(WORDS)] for j in range((5 * i) % 23 + 1)) for i in range(40)]


@pytest.fixture(scope="module")
def ours(tiny_model: Path) -> MatryoshkaEncoder:
    return MatryoshkaEncoder(tiny_model, device="cpu")


@pytest.fixture
def theirs(tiny_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model), device="cpu")


def passes_of(model: SentenceTransformer, call: Callable[[], object]) -> list[tuple[int, int]]:
    """Texts and padded tokens a text of each forward pass."""
    seen: list[tuple[int, int]] = []
    handle = model[0].register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0]["input_ids"].shape)))
    try:
        call()
    finally:
        handle.remove()
    return seen


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 7},
        {"truncate_dim": 8},
        {"truncate_dim": 8, "normalize_embeddings": True},
        {"prompt": "the animal "},
        {"precision": "binary"},
        {"precision": "ubinary"},
        {"precision": "uint8"},
        {"output_value": "token_embeddings"},
        {"output_value": None},
        {"convert_to_tensor": True},
        {"convert_to_numpy": False},
        {"processing_kwargs": {"text": {"max_length": 6}}},
        {"processing_kwargs": {"text": {"padding": "max_length"}}},
    ],
)
def test_every_argument_does_what_it_does_in_sentence_transformers(
    ours: MatryoshkaEncoder, theirs: SentenceTransformer, settings: dict[str, Any]
) -> None:
    given, expected = ours.encode(TEXTS, **settings), theirs.encode(TEXTS, **settings)
    assert type(given) is type(expected)
    if settings.get("output_value", "") is None:
        given, expected = ([row["sentence_embedding"] for row in rows] for rows in (given, expected))
    assert len(given) == len(expected)
    for a, b in zip(given, expected, strict=True):
        assert (type(a), a.dtype, a.shape) == (type(b), b.dtype, b.shape)
        # A bucket's edge may fall between two last bits.
        atol = 1 if settings.get("precision") == "uint8" else 1e-6
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), atol=atol)


@pytest.mark.parametrize("name", ["roberta", "mpnet", "distilbert", "modernbert", "electra", "deberta-v2"])
def test_every_family_gives_the_vectors_of_sentence_transformers(
    family_encoder: Callable[[str], MatryoshkaEncoder], name: str, tmp_path: Path
) -> None:
    encoder = family_encoder(name)
    encoder.save(str(tmp_path / "saved"))
    expected = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS, batch_tokens=64), expected, atol=1e-6)


@pytest.mark.parametrize("inputs", [TEXTS[3], [], [TEXTS[3]], np.asarray(TEXTS), tuple(TEXTS)])
def test_any_kind_of_input(ours: MatryoshkaEncoder, theirs: SentenceTransformer, inputs: Any) -> None:
    given = ours.encode(inputs)
    if len(inputs):
        expected = theirs.encode(list(inputs) if isinstance(inputs, tuple) else inputs)
        assert given.shape == expected.shape
        np.testing.assert_allclose(given, expected, atol=1e-6)
    else:
        assert given.shape == (0, 32)


def test_prompts_and_tasks(ours: MatryoshkaEncoder, theirs: SentenceTransformer) -> None:
    prompts = {"query": "find the ", "document": "text of ", "other": "some word "}
    try:
        for model in (ours, theirs):
            model.prompts, model.default_prompt_name = dict(prompts), "other"
            model[0].query_length = 8
        calls: list[Callable[[SentenceTransformer], Any]] = [
            lambda m: m.encode(TEXTS),
            lambda m: m.encode(TEXTS, prompt_name="document"),
            lambda m: m.encode(TEXTS, prompt=""),
            lambda m: m.encode_query(TEXTS),
            lambda m: m.encode_document(TEXTS),
            lambda m: m.encode_query(TEXTS, None, None, 5),
        ]
        for include in (True, False):
            for model in (ours, theirs):
                model.set_pooling_include_prompt(include)
            for call in calls:
                np.testing.assert_allclose(call(ours), call(theirs), atol=1e-6)
        with pytest.raises(ValueError, match="not found in the configured prompts"):
            ours.encode(TEXTS, prompt_name="nonsense")
    finally:
        ours.prompts, ours.default_prompt_name, ours[0].query_length = {"query": "", "document": ""}, None, None
        ours.set_pooling_include_prompt(True)


def test_a_pass_holds_so_many_padded_tokens_and_texts_of_like_length(ours: MatryoshkaEncoder) -> None:
    passes = passes_of(ours, lambda: ours.encode(TEXTS, batch_tokens=60))
    assert sum(rows for rows, _ in passes) == len(TEXTS)
    assert max(rows * length for rows, length in passes) <= 60
    assert [length for _, length in passes] == sorted((length for _, length in passes), reverse=True)
    assert passes_of(ours, lambda: ours.encode(TEXTS, batch_tokens=1)) == [
        (1, length) for length in sorted((ours.preprocess([t])["input_ids"].shape[1] for t in TEXTS), reverse=True)
    ]
    assert sorted(rows for rows, _ in passes_of(ours, lambda: ours.encode(TEXTS, batch_size=16))) == [8, 16, 16]
    for method in (ours.encode, ours.encode_query, ours.encode_document):
        assert len(passes_of(ours, lambda method=method: method(TEXTS[:30]))) == 1


def test_contradicting_and_impossible_sizes_are_refused(ours: MatryoshkaEncoder) -> None:
    with pytest.raises(ValueError, match="batch_size=4 and batch_tokens=64 are both given; give one of them"):
        ours.encode(TEXTS, batch_size=4, batch_tokens=64)
    with pytest.raises(ValueError, match="batch_tokens is 0; allowed: a whole number from 1"):
        ours.encode(TEXTS, batch_tokens=0)
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        ours.encode(TEXTS, batch_size=0)
    with pytest.raises(ValueError, match="dtype is 'fp4'; allowed: float32, bf16, auto"):
        ours.encode(TEXTS, dtype="fp4")
    with pytest.raises(ValueError, match="does not use"):
        ours.encode(TEXTS, batch_token=8)


def test_more_texts_than_are_sorted_together_come_in_their_order(
    ours: MatryoshkaEncoder, theirs: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "SLICE", 7)
    monkeypatch.setattr(tokens, "_AT_ONCE", 3)
    np.testing.assert_allclose(ours.encode(TEXTS, batch_tokens=40), theirs.encode(TEXTS), atol=1e-6)


def test_padding_on_the_left_is_the_tokenizers(ours: MatryoshkaEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours.tokenizer, "padding_side", "left")
    ids = tokens.TokenIds(ours, TEXTS[:5], None, {})
    expected = ours.preprocess([TEXTS[i] for i in (4, 0, 2)])
    given = ids.features(np.asarray([4, 0, 2]))
    assert given.keys() == expected.keys()
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert torch.equal(given[name], expected[name])


def test_a_backbone_that_reads_texts_without_padding_gets_them_so(
    ours: MatryoshkaEncoder, theirs: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[int] = []

    def collate(rows: list[dict[str, list[int]]]) -> dict[str, Any]:
        joined.append(sum(len(row["input_ids"]) for row in rows))
        padded = ours.tokenizer.pad([dict(row) for row in rows], return_tensors="pt")
        return dict(padded)

    monkeypatch.setattr(ours[0], "can_flatten_inputs", True)
    monkeypatch.setattr(tokens, "unpadded", lambda _: collate)
    np.testing.assert_allclose(ours.encode(TEXTS, batch_tokens=64), theirs.encode(TEXTS), atol=1e-6)
    assert len(joined) > 5
    assert sum(joined) == sum(len(ours.tokenizer(text)["input_ids"]) for text in TEXTS)
    assert ours[0].can_flatten_inputs is True


def test_what_is_no_plain_text_model_goes_through_sentence_transformers_own_loop(
    ours: MatryoshkaEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_plain_text(ours, {})
    assert not is_plain_text(ours, {"processing_kwargs": {"text": {"padding": "max_length"}}})
    monkeypatch.setattr(ours[0], "processing_kwargs", {"common": {"return_tensors": "pt"}})
    assert not is_plain_text(ours, {})
    monkeypatch.undo()
    expected = ours.encode(TEXTS)
    monkeypatch.setattr(encode, "is_plain_text", lambda *_: False)
    for settings in ({}, {"batch_tokens": 64}, {"batch_size": 5}):
        np.testing.assert_allclose(ours.encode(TEXTS, **settings), expected, atol=1e-6)
    half = ours.encode(TEXTS, dtype="bf16", dim=8)
    assert half.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)
    told: list[int] = []
    ours.encode(TEXTS, show_progress_bar=told.append)
    assert sum(told) == len(TEXTS)


@pytest.mark.parametrize("name", ["bert", "modernbert", "deberta-v2"])
def test_bf16_gives_unit_rows_near_those_of_float32(
    family_encoder: Callable[[str], MatryoshkaEncoder], name: str
) -> None:
    encoder = family_encoder(name)
    for dim in (1, 8, 32):
        given, expected = encoder.encode(TEXTS, dim=dim, dtype="bf16"), encoder.encode(TEXTS, dim=dim)
        assert given.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(given, axis=1), 1, atol=1e-6)
        assert (given * expected).sum(1).min() > 0.995
    assert np.abs(encoder.encode(TEXTS, dtype="bf16") - encoder.encode(TEXTS)).max() > 1e-5
    assert encoder.encode(TEXTS, dtype="bf16", output_value="token_embeddings")[0].shape[1] == 32
    # Nothing of it stays behind.
    np.testing.assert_array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS, dtype="float32"))
    assert encoder.dtype == torch.float32


def test_a_dense_layer_after_the_pooling_leaves_unit_rows_in_bf16(tiny_model: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Dense

    plain = SentenceTransformer(str(tiny_model), device="cpu")
    encoder = MatryoshkaEncoder(modules=[*plain, Dense(32, 24)], device="cpu")
    given = encoder.encode(TEXTS, dtype="bf16")
    assert given.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(given, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("has", "expected"), [(True, "bf16"), (False, "float32")])
def test_auto_is_what_the_hardware_is_made_for(
    ours: MatryoshkaEncoder, monkeypatch: pytest.MonkeyPatch, has: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has})
    np.testing.assert_array_equal(ours.encode(TEXTS, dtype="auto"), ours.encode(TEXTS, dtype=expected))


def test_progress(
    ours: MatryoshkaEncoder, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    ours.encode(TEXTS, show_progress_bar=True)
    shown = capsys.readouterr().err
    assert "40/40" in shown
    assert "texts/s" in shown
    told: list[int] = []
    ours.encode(TEXTS, batch_tokens=60, show_progress_bar=told.append)
    assert sum(told) == len(TEXTS)
    assert len(told) > 3
    ours.encode(TEXTS)
    assert not capsys.readouterr().err
    with caplog.at_level(logging.INFO, logger="sentence_transformers"):
        ours.encode(TEXTS)
    assert "40/40" in capsys.readouterr().err


def test_a_model_in_training_mode_is_read_without_dropout(tiny_model: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu").train()
    np.testing.assert_array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))
    assert not encoder.training


@pytest.mark.slow
def test_a_pools_processes_take_the_words_of_this_class(ours: MatryoshkaEncoder) -> None:
    for settings in ({"dim": 8}, {"dim": 8, "dtype": "bf16", "batch_tokens": 64}):
        given = ours.encode(TEXTS, device=["cpu", "cpu"], chunk_size=11, **settings)
        np.testing.assert_allclose(given, ours.encode(TEXTS, **settings), atol=1e-5)


def _mixed(repo: Path) -> list[str]:
    """Paragraphs, sentences and passages, from 3 to more than 256 tokens."""
    data = repo / "recipes" / "data"
    with gzip.open(data / "text" / "held_out.txt.gz", "rt") as lines:
        texts = [line.strip() for line in lines][:12]
    with gzip.open(data / "pairs" / "nli.jsonl.gz", "rt") as lines:
        texts += [text for line in list(lines)[:10] for text in json.loads(line).values() if isinstance(text, str)]
    texts += [json.loads(line)["text"] for line in (data / "squad" / "corpus.jsonl").read_text().splitlines()[:6]]
    return [*texts, " ".join(texts[:12])]


@pytest.mark.slow
def test_minilm_identical_in_float32_and_near_at_every_dim_in_bf16(minilm: Path, repo: Path) -> None:
    texts = _mixed(repo)
    encoder = MatryoshkaEncoder(minilm, device="cpu")
    full = encoder.encode(texts)
    np.testing.assert_allclose(full, SentenceTransformer(str(minilm), device="cpu").encode(texts), atol=1e-6)
    half = encoder.encode(texts, dtype="bf16")
    for dim in (12, 24, 48, 96, 192, 384):
        a, b = (v[:, :dim] / np.linalg.norm(v[:, :dim], axis=1, keepdims=True) for v in (full, half))
        assert (a * b).sum(1).min() >= 0.999


def test_what_the_tokenizer_returned_is_not_kept(ours: MatryoshkaEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    class Piece(dict[str, Any]):
        """A dictionary that can be watched."""

    expected = ours.encode(TEXTS)
    watched: list[weakref.ref[Piece]] = []
    tokenized = tokens.token_rows

    def noted(*given: Any) -> Piece:
        assert not any(ref() for ref in watched), "an earlier piece is still alive"
        piece = Piece(tokenized(*given))
        watched.append(weakref.ref(piece))
        return piece

    monkeypatch.setattr(tokens, "token_rows", noted)
    monkeypatch.setattr(tokens, "_LETTERS_AT_ONCE", 300)
    np.testing.assert_allclose(ours.encode(TEXTS), expected, atol=1e-6)
    # Cut by letters as well as by texts: long texts come a few at a time.
    assert len(watched) >= sum(map(len, TEXTS)) // 500
