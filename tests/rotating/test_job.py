import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize

from matryoshka_text import Rotation, rotate
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.lora import add_adapter
from matryoshka_text.errors import DataError, EvaluationError, ModelError, MtextError, RunError
from matryoshka_text.files import held
from matryoshka_text.rotation import FitSettings

TEXTS = ["the cat is sleeping", "money transfer to my bank account", "a woman playing the guitar in the street"]


def _times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.name != ".lock"}


def test_the_folder_holds_a_plain_model_its_rotation_and_the_records(
    tiny_model: Path, lines: Path, rows: Path, settings: FitSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    columns = ("question", "answer")
    done = rotate(tiny_model, [lines, rows], (4, 8), out=out, columns=columns, settings=settings)
    assert done.new and done.folder == out
    names = ["metrics.jsonl", "model", "rotation.json", "rotation.safetensors", "table.txt", "vectors"]
    assert sorted(p.name for p in out.iterdir() if not p.name.startswith(".")) == names
    base = SentenceTransformer(str(tiny_model), device="cpu").encode(TEXTS)
    rotation = Rotation.open(out / "rotation.safetensors")
    plain = SentenceTransformer(str(out / "model"), device="cpu")
    np.testing.assert_allclose(plain.encode(TEXTS), base @ rotation.matrix, atol=1e-6)
    np.testing.assert_allclose(plain.encode(TEXTS) @ plain.encode(TEXTS).T, base @ base.T, atol=1e-6)
    np.testing.assert_allclose(done.encoder.encode(TEXTS), plain.encode(TEXTS), atol=1e-6)
    assert rotation.dims == tuple(plain.config.matryoshka_dimensions) == (4, 8, 32)
    record = json.loads((out / "rotation.json").read_text())
    assert [(one["name"], one["used"], one["columns"]) for one in record["sources"]] == [
        ("lines.txt", 400, []),
        ("rows.jsonl", 200, ["question", "answer"]),
    ]
    assert record["kept"] == [
        {
            **{"source": one.source, "rows": one.rows, "asked": one.asked},
            "before": {str(dim): share for dim, share in one.before.items()},
            "after": {str(dim): share for dim, share in one.after.items()},
        }
        for one in done.kept
    ]
    assert record["finished"] and record["environment"]["threads"] == torch.get_num_threads()
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in metrics if "loss" in line]
    assert [line["rotation_step"] for line in steps] == list(range(1, 13))
    assert {line["source"] for line in steps} == {"lines.txt", "rows.jsonl"}
    assert list(steps[0]["loss"]["rotation"]) == ["4", "8"]
    assert [line["rotation_step"] for line in metrics if "held_back" in line] == [0, 0, 6, 12]
    assert record["checks"] == [line for line in metrics if "held_back" in line]
    assert (out / "table.txt").read_text() == str(done)
    assert "lines.txt" in str(done)


def test_the_card_is_about_this_model(
    tiny_model: Path, sentences: list[str], settings: FitSettings, tmp_path: Path
) -> None:
    rotate(tiny_model, sentences, out=tmp_path / "mine", settings=settings)
    card = (tmp_path / "mine/model/README.md").read_text()
    assert "# mine\n" in card and "rotated with matryoshka-text" in card and "Dimensions: 8, 16, 32." in card
    assert str(tmp_path) not in card and str(tiny_model) not in card
    assert "Cosines at full width\nare unchanged" in card


def test_a_finished_folder_is_left_alone(
    tiny_model: Path, lines: Path, settings: FitSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rotate(tiny_model, lines, out=tmp_path / "out", settings=settings)
    before = _times(tmp_path / "out")
    lines.rename(tmp_path / "renamed.txt")
    again = rotate(tiny_model, tmp_path / "renamed.txt", out=tmp_path / "out", settings=settings)
    assert not again.new
    assert again.kept == first.kept and str(again) == str(first)
    np.testing.assert_array_equal(again.rotation.matrix, first.rotation.matrix)
    np.testing.assert_allclose(again.encoder.encode(TEXTS), first.encoder.encode(TEXTS), atol=1e-6)
    assert _times(tmp_path / "out") == before


def test_another_call_into_the_folder_is_refused_with_the_difference(
    tiny_model: Path, rotated_model: Path, lines: Path, sentences: list[str], settings: FitSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    rotate(tiny_model, lines, out=out, settings=settings)
    before = _times(out)
    calls: list[tuple[dict[str, Any], str]] = [
        ({"model": rotated_model, "dims": (8, 16)}, "weights: 'sha256 .* there, 'sha256 .* asked for"),
        ({"texts": {"a": sentences}}, "texts: .'sha256"),
        ({"dims": (4, 8)}, r"dims: \(8, 16, 32\) there, \(4, 8, 32\) asked for"),
        ({"settings": FitSettings(steps=13, anchors=16, warmup=2, check_every=6)}, "steps: 12 there, 13 asked for"),
        ({"most": 300}, "most: 20000 there, 300 asked for"),
        ({"prompt": "query: "}, "prompt: None there, 'query: ' asked for"),
        ({"split": 2}, "split: 1 there, 2 asked for"),
    ]
    for words, told in calls:
        call = {"model": tiny_model, "texts": lines, "settings": settings, "out": out} | words
        with pytest.raises(RunError, match=told):
            rotate(**call)
    assert _times(out) == before


def test_a_foreign_folder_and_one_in_use_are_refused(
    tiny_model: Path, lines: Path, settings: FitSettings, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("hello")
    with pytest.raises(RunError, match=r"mine: holds notes.txt, but no rotation.json, .*give another with --out"):
        rotate(tiny_model, lines, out=tmp_path / "mine", settings=settings)
    with pytest.raises(RunError, match="is a file; allowed: a folder"):
        rotate(tiny_model, lines, out=lines, settings=settings)
    with (
        held(tmp_path / "used", doing="learning a rotation"),
        pytest.raises(RunError, match="used: another process is learning a rotation here; wait for it"),
    ):
        rotate(tiny_model, lines, out=tmp_path / "used", settings=settings)
    assert os.listdir(tmp_path / "mine") == ["notes.txt"]  # noqa: PTH208


def test_without_a_folder_it_is_the_same_rotation(
    tiny_model: Path, lines: Path, sentences: list[str], settings: FitSettings, tmp_path: Path
) -> None:
    kept = rotate(tiny_model, lines, out=tmp_path / "out", settings=settings)
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    loose = rotate(encoder, sentences, settings=settings)
    np.testing.assert_array_equal(loose.rotation.matrix, kept.rotation.matrix)
    assert loose.folder is None
    assert [one.after for one in loose.kept] == [one.after for one in kept.kept]
    np.testing.assert_allclose(loose.encoder.encode(TEXTS, dim=8), kept.encoder.encode(TEXTS, dim=8), atol=1e-6)
    assert encoder.dims == (32,)


def test_it_improves_what_prefixes_keep(tiny_model: Path, sentences: list[str]) -> None:
    done = rotate(tiny_model, {"a": sentences[:200], "b": sentences[200:]}, settings=FitSettings(steps=150, anchors=32))
    for one in done.kept:
        assert one.after[8] > one.before[8] + 0.05


def test_split_divides_a_source(tiny_model: Path, sentences: list[str], settings: FitSettings) -> None:
    done = rotate(tiny_model, sentences, split=2, settings=settings)
    assert [one.source for one in done.kept] == ["texts #1", "texts #2"]
    assert sum(one.rows for one in done.kept) == 400


def test_an_unnormalised_model_keeps_its_lengths(
    tiny_model: Path, sentences: list[str], settings: FitSettings, tmp_path: Path
) -> None:
    base = SentenceTransformer(str(tiny_model), device="cpu")
    del base[-1]
    base.save(str(tmp_path / "base"))
    before = base.encode(TEXTS)
    assert np.abs(np.linalg.norm(before, axis=1) - 1).min() > 0.1
    done = rotate(tmp_path / "base", sentences, out=tmp_path / "out", settings=settings)
    plain = SentenceTransformer(str(tmp_path / "out/model"), device="cpu")
    assert not any(isinstance(module, Normalize) for module in plain)
    np.testing.assert_allclose(plain.encode(TEXTS) @ plain.encode(TEXTS).T, before @ before.T, rtol=1e-5)
    np.testing.assert_allclose(plain.encode(TEXTS), before @ done.rotation.matrix, rtol=1e-4, atol=1e-5)
    # In memory it ends in Normalize, as every encoder does.
    np.testing.assert_allclose(np.linalg.norm(done.encoder.encode(TEXTS), axis=1), 1, atol=1e-6)
    same = rotate(tiny_model, sentences, settings=settings)
    np.testing.assert_array_equal(done.rotation.matrix, same.rotation.matrix)


def test_a_rotated_folder_is_rotated_again(
    tiny_model: Path, sentences: list[str], settings: FitSettings, tmp_path: Path
) -> None:
    rotate(tiny_model, sentences[:200], out=tmp_path / "one", settings=settings)
    rotate(tmp_path / "one", sentences[200:], out=tmp_path / "two", settings=settings)
    plain = SentenceTransformer(str(tmp_path / "two/model"), device="cpu")
    assert sum(isinstance(module, Dense) for module in plain) == 1
    base = SentenceTransformer(str(tiny_model), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(plain.encode(TEXTS) @ plain.encode(TEXTS).T, base @ base.T, atol=1e-6)


def test_lora_matrices_are_merged_in_the_saved_model(
    tiny_model: Path, sentences: list[str], settings: FitSettings, tmp_path: Path
) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    add_adapter(encoder, rank=2, alpha=4, dropout=0.0, target_modules="all-linear")
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    done = rotate(encoder.eval(), sentences, out=tmp_path / "out", settings=settings)
    plain = SentenceTransformer(str(tmp_path / "out/model"), device="cpu")
    np.testing.assert_allclose(plain.encode(TEXTS), encoder.encode(TEXTS) @ done.rotation.matrix, atol=1e-5)
    assert not any("lora" in name for name in load_file(tmp_path / "out/model/model.safetensors"))


def test_a_prompt_is_put_before_every_text(tiny_model: Path, sentences: list[str], settings: FitSettings) -> None:
    prompted = rotate(tiny_model, sentences, settings=settings, prompt="query: ")
    spelled = rotate(tiny_model, [f"query: {text}" for text in sentences], settings=settings)
    assert not np.array_equal(
        prompted.rotation.matrix, rotate(tiny_model, sentences, settings=settings).rotation.matrix
    )
    assert [one.before.keys() for one in prompted.kept] == [one.before.keys() for one in spelled.kept]


def test_a_prompt_for_each_source_by_its_words_or_its_name(
    tiny_model: Path, sentences: list[str], settings: FitSettings, tmp_path: Path
) -> None:
    """As the texts with their prompts before them, which the tiny model's pooling reads like any other words."""
    texts = {"asked": sentences[:200], "found": sentences[200:]}
    model = MatryoshkaEncoder(tiny_model, device="cpu", prompts={"query": "ask: ", "document": "read: "})
    how: dict[str, Any] = {"settings": settings, "max_characters": 1000}
    named = rotate(model, texts, prompt_name=["query", "document"], out=tmp_path / "out", **how)
    written = {"asked": [f"ask: {one}" for one in texts["asked"]], "found": [f"read: {one}" for one in texts["found"]]}
    spelled = rotate(tiny_model, written, **how)
    np.testing.assert_allclose(named.rotation.matrix, spelled.rotation.matrix, atol=1e-4)
    assert json.loads((tmp_path / "out/rotation.json").read_text())["prompt"] == ["ask: ", "read: "]
    assert not rotate(model, texts, prompt=["ask: ", "read: "], out=tmp_path / "out", **how).new
    with pytest.raises(RunError, match="prompt: "):
        rotate(model, texts, prompt="ask: ", out=tmp_path / "out", **how)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"prompt": ["a", "b"]}, "--prompt: found 2 for 1 sources; allowed: one for all, or one for each"),
        ({"prompt_name": "ask"}, "--prompt-name: found 'ask'; allowed: document, query"),
        ({"prompt": "a", "prompt_name": "query"}, "are both given"),
    ],
)
def test_a_prompt_that_cannot_be_is_told(
    tiny_model: Path, sentences: list[str], words: dict[str, Any], said: str
) -> None:
    with pytest.raises(MtextError, match=said):
        rotate(tiny_model, sentences, **words)


def _nan_model(tiny_model: Path, folder: Path) -> Path:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    with torch.no_grad():
        encoder.transformers_model.embeddings.word_embeddings.weight[encoder.tokenizer.vocab["guitar"]] = 3e38
    encoder.save(str(folder))
    return folder


def test_texts_whose_vectors_are_nan_are_named(
    tiny_model: Path, sentences: list[str], settings: FitSettings, tmp_path: Path
) -> None:
    model = _nan_model(tiny_model, tmp_path / "nan")
    with pytest.raises(EvaluationError, match=r"NaN or infinite numbers for 1 of .* texts, such as 'a red guitar'"):
        rotate(model, [*sentences, "a red guitar"], out=tmp_path / "out", settings=settings)
    assert not (tmp_path / "out/model").exists() and not (tmp_path / "out/rotation.safetensors").exists()


WRONG: list[tuple[dict[str, Any], type[MtextError], str]] = [
    ({"count": 40}, DataError, "texts: found 40 different texts in all; allowed: at least 64, twice the 32 dims"),
    ({"texts": ["one text"] * 500}, DataError, "found 1 different text in all; allowed: at least 64"),
    ({"small": 3}, DataError, "small: found 3 different texts, 3 of them to learn from; allowed: more than 4, a neigh"),
    ({"dims": (8, 64)}, DataError, r"--dims: dims\[1\] is 64 in dims \(8, 64\); allowed are integers from 1 to 32"),
    ({"dims": (16, 8)}, DataError, r"--dims: dims\[1\] is 8 in dims"),
    ({"dims": (32,)}, DataError, "--dims: found 32 only, the full width"),
    ({"dims": ()}, DataError, "--dims: dims is empty"),
    ({"split": 0}, DataError, "--split: found 0; allowed: a whole number from 1"),
    ({"dtype": "int4"}, ModelError, "--dtype: dtype is 'int4'; allowed: float32, bf16, auto"),
    ({"model": "./nowhere"}, ModelError, "./nowhere: there is no such folder"),
]


@pytest.mark.parametrize(("words", "kind", "told"), WRONG)
def test_what_cannot_be_rotated_is_told_before_anything_is_written(
    tiny_model: Path,
    sentences: list[str],
    settings: FitSettings,
    tmp_path: Path,
    words: dict[str, Any],
    kind: type[MtextError],
    told: str,
) -> None:
    words = dict(words)
    if count := words.pop("count", 0):
        words["texts"] = sentences[:count]
    if small := words.pop("small", 0):
        words["texts"] = {"large": sentences, "small": sentences[:small]}
    call = {"model": tiny_model, "texts": sentences, "settings": settings, "out": tmp_path / "out"} | words
    with pytest.raises(kind, match=told):
        rotate(**call)
    assert not (tmp_path / "out").exists()


def test_models_without_one_full_vector_a_text_are_told(
    tiny_model: Path, sentences: list[str], settings: FitSettings, tmp_path: Path
) -> None:
    MatryoshkaEncoder(tiny_model, device="cpu").truncated(dim=8).save(str(tmp_path / "cut"))
    tokens = SentenceTransformer(modules=[SentenceTransformer(str(tiny_model), device="cpu")[0]], device="cpu")
    tokens.save(str(tmp_path / "tokens"), create_model_card=False)
    for name, told in (
        ("cut", "cut: the model ends in a Dense from 32 to 8 dims; allowed: .* or rotate its vectors: mtext rotate"),
        (
            "tokens",
            "tokens: .* gives a vector for each token, and none for the whole text; allowed: a model that pools",
        ),
    ):
        with pytest.raises(ModelError, match=told):
            rotate(tmp_path / name, sentences, out=tmp_path / "out", settings=settings)
    assert not (tmp_path / "out").exists()
