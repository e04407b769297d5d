"""Masked text in a run: what is refused before anything is written, and what held-out text is masked by."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from matryoshka_text import train
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import DataError, RecipeError
from matryoshka_text.heads.masked_lm import MatryoshkaMaskedLM
from matryoshka_text.heads.vocabulary import VocabularyHead

Write = Callable[..., Path]
UNKNOWN = "日本 ħħ 語\n" * 300


@pytest.fixture
def masked(write_recipe: Write, family: Callable[[str], Path], stream_files: dict[str, Any]) -> Callable[..., Path]:
    """masked("bert", mlm={"max_length": 16}, held="held.txt"): a recipe of masked text alone, evaluated on a file."""

    def make(base: str = "bert", mlm: dict[str, Any] | None = None, held: str | None = None, **more: Any) -> Path:
        data = [{"name": "held", "file": held, "kind": "text"}]
        sections: dict[str, Any] = {
            "base": {"model": str(family(base))},
            "data": [stream_files["text"]],
            "objectives": [{"kind": "mlm", "max_length": 16, "batch": 8, **(mlm or {})}],
            "batch": {"size": 8, "chunk": 3},
            "stopping": {"steps": 2},
            "evaluation": {"every": 1, "data": data} if held else None,
        }
        return write_recipe(**sections | more)

    return make


@pytest.mark.parametrize(("base", "most"), [("bert", 130), ("roberta", 129), ("mpnet", 128)])
def test_a_length_that_the_model_cannot_read_is_refused(
    base: str, most: int, masked: Callable[..., Path], stream_files: dict[str, Any], tmp_path: Path
) -> None:
    held = stream_files["text"]["file"]
    message = rf"objectives\[0\].max_length: found {most + 1}; allowed: at most {most}, .*; write `max_length: {most}`"
    with pytest.raises(RecipeError, match=message):
        train(masked(base, {"max_length": most + 1}, held), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # The tokenizer's, and so the sentence model's, own length is 64.
    train(masked(base, {"max_length": most}, held, dims=[4, 8]), out=tmp_path / "run")


def test_text_without_a_known_word_is_refused(
    masked: Callable[..., Path], stream_files: dict[str, Any], tmp_path: Path
) -> None:
    unknown = tmp_path / "unknown.txt"
    unknown.write_text(UNKNOWN)
    message = r"unknown.txt: none of the [\d,]+ tokens of its 300 texts can be masked: .* special or unknown; give text"
    with pytest.raises(DataError, match=message):
        train(masked(data=[stream_files["text"] | {"file": str(unknown)}]), out=tmp_path / "run")
    with pytest.raises(DataError, match=message):
        train(masked(held=str(unknown)), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_held_out_text_is_masked_as_the_objective_says(
    masked: Callable[..., Path], stream_files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"share": 0.4, "replace": [0.5, 0.2, 0.3], "whole_words": True, "packing": False, "max_length": 12}
    calls: list[dict[str, Any]] = []
    scores = MatryoshkaMaskedLM.scores

    def heard(self: MatryoshkaMaskedLM, texts: Any, dims: Any, **settings: Any) -> Any:
        calls.append(settings)
        return scores(self, texts, dims, **settings)

    monkeypatch.setattr(MatryoshkaMaskedLM, "scores", heard)
    # Another seed than the one that held-out text is masked by.
    run = train(masked(mlm=told, held=stream_files["text"]["file"], seed=5), out=tmp_path / "run")
    assert calls and all(call == told | {"replace": (0.5, 0.2, 0.3)} for call in calls)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    last = [line["evaluation"] for line in lines if "evaluation" in line][-1]
    assert "held" in json.dumps(last)


def test_a_truncated_head_learns_on(masked: Callable[..., Path], tmp_path: Path) -> None:
    run = train(masked(mlm={"cut": "nested"}), out=tmp_path / "run")
    small = MatryoshkaMaskedLM(run.model, device="cpu").truncated(8)
    small.save(tmp_path / "small")
    recipe = yaml.safe_load(masked(mlm={"cut": "nested"}, dims=[4, 8]).read_text())
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(recipe | {"base": {"model": str(tmp_path / "small")}}))
    again = train(path, out=tmp_path / "again")
    head = VocabularyHead.load(again.model / "heads/mlm", MatryoshkaEncoder(again.model, device="cpu"))
    assert (head.width, head.dims, tuple(head.transform.weight.shape)) == (8, (4, 8), (8, 8))
    assert (head.transform.weight != small.head.transform.weight).any()


def test_blank_held_out_text_is_refused_with_its_place(masked: Callable[..., Path], tmp_path: Path) -> None:
    control = tmp_path / "control.txt"
    # Text to whoever reads the file, and nothing to the tokenizer.
    control.write_text("\u200b\n" * 20)
    with pytest.raises(DataError, match=r"control.txt: none of the 20 texts has a token"):
        train(masked(held=str(control)), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
