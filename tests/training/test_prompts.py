"""Prompts in training: what a run reads is what plain sentence-transformers reads of its model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

from matryoshka_text import MatryoshkaEncoder, load_recipe, train
from matryoshka_text.build.check import inspect_recipe
from matryoshka_text.errors import RecipeError, RunError
from matryoshka_text.recipe import HeldOut, Source
from matryoshka_text.rotation import Rotation
from matryoshka_text.training.held_out import retrieval_score

Write = Callable[..., Path]
Still = Callable[[Path, Path], Path]
PROMPTS = {"query": "ask: ", "document": "here is a long answer: ", "sts": "same? "}
BARE = {"anchor": "", "positive": ""}
DIMS = (4, 8, 16, 32)


@pytest.fixture
def rows(rows_file: Path, tmp_path: Path) -> tuple[Path, list[dict[str, str]]]:
    """As many triplets as a batch has."""
    found = [json.loads(line) for line in rows_file.read_text().splitlines()[:16]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return tmp_path / "rows.jsonl", found


@pytest.fixture(params=[True, False], ids=["prompt pooled", "prompt left out"])
def base(request: pytest.FixtureRequest, tiny_model: Path, still: Still, tmp_path: Path) -> Path:
    """The tiny model without dropout, whose pooling reads prompts or leaves them out."""
    folder = still(tiny_model, tmp_path / "base")
    file = folder / "1_Pooling" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "include_prompt": request.param}))
    return folder


def _plain(model: Path, **settings: Any) -> SentenceTransformer:
    return SentenceTransformer(str(model), device="cpu", **settings)


def _metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _unit(vectors: np.ndarray, dim: int) -> np.ndarray:
    cut = vectors[:, :dim].astype(np.float64)
    return cut / np.linalg.norm(cut, axis=1, keepdims=True)


def _info_nce(query: np.ndarray, candidates: np.ndarray, dim: int) -> float:
    logits = _unit(query, dim) @ _unit(candidates, dim).T / 0.05
    return float(np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(logits)]))


@pytest.mark.parametrize(
    "batch", [{}, {"chunk": 5}, {"tokens": 100, "gradient_caching": True}], ids=["one pass", "chunks", "cached"]
)
def test_the_first_loss_is_that_of_plain_vectors_with_the_prompts(
    write_recipe: Write, base: Path, rows: Any, tmp_path: Path, batch: dict[str, Any]
) -> None:
    file, found = rows
    path = write_recipe(
        base={"model": str(base), "prompts": PROMPTS},
        data=[{"name": "rows", "file": str(file), "kind": "triplets"}],
        objectives=[{"kind": "info_nce", "temperature": 0.05}],
        batch={"size": 16, "max_length": 64, **batch},
        stopping={"steps": 1},
    )
    run = train(path, out=tmp_path / "run")
    plain = _plain(base, prompts=PROMPTS)
    query = plain.encode_query([row["anchor"] for row in found])
    candidates = plain.encode_document([row[key] for key in ("positive", "negative") for row in found])
    expected = [_info_nce(query, candidates, dim) for dim in DIMS]
    assert list(_metrics(run.folder)[0]["per_dim"]["info_nce"].values()) == pytest.approx(expected, rel=1e-5)

    saved = json.loads((run.model / "config_sentence_transformers.json").read_text())
    assert saved["prompts"] == PROMPTS
    reopened, ours = _plain(run.model), MatryoshkaEncoder(run.model, device="cpu")
    texts = [row["positive"] for row in found]
    for method in ("encode", "encode_query", "encode_document"):
        difference = getattr(reopened, method)(texts) - getattr(ours, method)(texts)
        assert np.abs(difference).max() < 1e-6, method
    assert np.abs(ours.encode_query(texts) - ours.encode_document(texts)).max() > 1e-3


def test_training_with_prompts_is_training_on_texts_that_begin_with_them(
    write_recipe: Write, tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    before = {"anchor": PROMPTS["query"], "positive": PROMPTS["document"], "negative": PROMPTS["document"]}
    written = [{key: before[key] + text for key, text in row.items()} for row in rows]
    (tmp_path / "written.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    runs = []
    for name, prompts, file in (("told", PROMPTS, rows_file), ("written", {}, tmp_path / "written.jsonl")):
        source = {"name": "rows", "file": str(file), "kind": "triplets"}
        path = write_recipe(f"{name}.yaml", base={"model": str(tiny_model), "prompts": prompts}, data=[source])
        runs.append(train(path, out=tmp_path / name))
    told, by_hand = runs
    assert [line["per_dim"] for line in _metrics(told.folder)] == [line["per_dim"] for line in _metrics(by_hand.folder)]
    assert (told.model / "model.safetensors").read_bytes() == (by_hand.model / "model.safetensors").read_bytes()


def test_the_bases_own_prompts_are_trained_with_and_kept(
    write_recipe: Write, tiny_model: Path, rows_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = _plain(tiny_model, prompts=PROMPTS, default_prompt_name="sts")
    own.save(str(tmp_path / "own"))
    files: dict[str, Path] = {"own": tmp_path / "own", "told": tiny_model}
    words: dict[str, Any] = {"own": {}, "told": {"prompts": PROMPTS, "default_prompt_name": "sts"}}
    caplog.set_level("INFO", logger="matryoshka_text")
    runs = {}
    for name, model in files.items():
        path = write_recipe(f"{name}.yaml", base={"model": str(model), **words[name]}, stopping={"steps": 2})
        runs[name] = train(path, out=tmp_path / f"run-{name}")
    first, second = (_metrics(run.folder)[-1]["per_dim"] for run in runs.values())
    assert first == second
    assert caplog.messages.count("prompts of rows: anchor 'ask: ', positive 'here is a long answer: '") == 2
    for run in runs.values():
        saved = json.loads((run.model / "config_sentence_transformers.json").read_text())
        assert (saved["prompts"], saved["default_prompt_name"]) == (PROMPTS, "sts")
        stored = yaml.safe_load((run.folder / "recipe.yaml").read_text())["base"]
        assert (stored["prompts"], stored["default_prompt_name"]) == (PROMPTS, "sts")


def test_a_prompt_in_place_of_the_bases_own_is_told(
    write_recipe: Write, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _plain(tiny_model, prompts=PROMPTS).save(str(tmp_path / "own"))
    path = write_recipe(base={"model": str(tmp_path / "own"), "prompts": {"query": "find: "}})
    said = train(path, out=tmp_path / "run", dry_run=True).summary
    assert "prompts  rows: anchor 'find: ', positive 'here is a long answer: '" in said
    assert f"base.prompts.query: 'find: ' takes the place of {tmp_path / 'own'}'s own 'ask: '" in caplog.text


@pytest.mark.parametrize(
    ("kind", "prompts", "columns", "names"),
    [
        ("pairs", {}, 2, ("query", "document")),
        ("triplets", {"positive": "sts"}, 4, ("query", "sts", "sts", "sts")),
        ("triplets", {"anchor": ""}, 3, ("", "document", "document")),
        ("nli", {"hypothesis": "sts"}, 3, (None, "sts", "sts")),
        ("mined", {"text": "query"}, 2, ("query", "query")),
        ("scored", {"sentence1": "sts"}, 2, ("sts", None)),
        ("labelled", {}, 1, (None,)),
    ],
)
def test_a_column_gets_the_prompt_of_its_role(
    kind: Any, prompts: dict[str, str], columns: int, names: tuple[str | None, ...]
) -> None:
    from matryoshka_text.recipe.sources import prompt_names

    source = Source.model_validate({"name": "x", "file": "x.jsonl", "kind": kind, "prompts": prompts})
    assert prompt_names(source, columns) == names


def test_held_out_sets_are_scored_as_the_saved_model_encodes(
    write_recipe: Write, base: Path, rows: Any, tmp_path: Path
) -> None:
    file, found = rows
    held = {"name": "held", "file": str(file), "kind": "pairs"}
    path = write_recipe(
        base={"model": str(base), "prompts": PROMPTS},
        evaluation={"every": 1, "data": [held, {**held, "name": "bare", "prompts": BARE}]},
        stopping={"steps": 1},
    )
    scores = _metrics(train(path, out=tmp_path / "run").folder)[0]["evaluation"]
    plain = _plain(base, prompts=PROMPTS)
    first, second = ([row[key] for row in found] for key in ("anchor", "positive"))
    expected = retrieval_score(plain.encode_query(first), plain.encode_document(second), DIMS)
    assert list(scores["held"].values()) == pytest.approx(expected)
    bare = retrieval_score(plain.encode(first), plain.encode(second), DIMS)
    assert list(scores["bare"].values()) == pytest.approx(bare)


def test_a_teacher_reads_its_own_prompts(
    write_recipe: Write, tiny_model: Path, other_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    """Live, it teaches as the vectors do that plain sentence-transformers makes with them."""
    its = {"query": "where is ", "document": "the answer is "}
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    teacher = _plain(other_model, prompts=its)
    stored = {
        "anchor": torch.from_numpy(teacher.encode_query([row["anchor"] for row in rows])),
        "positive": torch.from_numpy(teacher.encode_document([row["positive"] for row in rows])),
    }
    save_file(stored, tmp_path / "taught.safetensors")
    source = {"name": "rows", "file": str(rows_file), "kind": "pairs"}
    base, batch = {"model": str(tiny_model), "prompts": PROMPTS}, {"size": 16, "max_length": 64}
    objective = {"kind": "distill", "teacher": str(other_model), "teacher_prompts": its}
    live = write_recipe("live.yaml", base=base, objectives=[objective], batch=batch, stopping={"steps": 3})
    given = write_recipe(
        "given.yaml",
        base=base,
        data=[source | {"vectors": str(tmp_path / "taught.safetensors")}],
        objectives=[{"kind": "distill", "vectors": True}],
        batch=batch,
        stopping={"steps": 3},
    )
    first, second = (_metrics(train(path, out=tmp_path / path.stem).folder) for path in (live, given))
    assert [line["loss"] for line in first] == pytest.approx([line["loss"] for line in second], rel=1e-4)


def test_a_rotation_reads_each_text_with_its_prompt(write_recipe: Write, base: Path, tmp_path: Path) -> None:
    """As of the same texts whose prompts are told by the names of two sources; and not as of bare texts."""
    words = {"model": str(base), "prompts": PROMPTS}
    learned = {}
    for name, prompts in (("told", {}), ("spelled", {"anchor": "query", "positive": "document"}), ("bare", BARE)):
        source = {**yaml.safe_load(write_recipe().read_text())["data"][0], "prompts": prompts}
        path = write_recipe(
            base=words,
            data=[source],
            objectives=None,
            stopping=None,
            rotation={"steps": 4, "warmup": 1, "check_every": 2, "anchors": 16},
        )
        run = train(path, out=tmp_path / name)
        learned[name] = Rotation.open(run.folder / "rotation.safetensors").matrix
        assert "told" not in name or _plain(run.model).prompts == PROMPTS
    np.testing.assert_array_equal(learned["told"], learned["spelled"])
    assert np.abs(learned["told"] - learned["bare"]).max() > 1e-3


def test_texts_are_mined_with_their_prompt(
    write_recipe: Write, tiny_model: Path, stream_files: dict[str, Any], tmp_path: Path
) -> None:
    source = {"name": "lines", "file": stream_files["text"]["file"], "kind": "mined", "rows": 60}
    marks = []
    for prompts in ({}, {"text": "sts"}):
        path = write_recipe(
            base={"model": str(tiny_model), "prompts": PROMPTS},
            data=[source | {"prompts": prompts}],
            stopping={"steps": 1},
        )
        run = train(path, out=tmp_path / f"run-{len(prompts)}")
        marks.append((run.folder / "mined-lines.jsonl").read_text())
    (first, *_), (second, *_) = (json.loads(mark.splitlines()[0]).values() for mark in marks)
    assert first != second
    assert marks[0].splitlines()[1:] != marks[1].splitlines()[1:]


@pytest.mark.parametrize("own", [False, True], ids=["the recipe as written", "the folder's own"])
def test_a_run_with_prompts_goes_on(write_recipe: Write, tiny_model: Path, tmp_path: Path, own: bool) -> None:
    _plain(tiny_model, prompts={"document": "found: "}).save(str(tmp_path / "own"))
    base = {"model": str(tmp_path / "own"), "prompts": {"query": "ask: "}}
    path = write_recipe(base=base, stopping={"steps": 4}, checkpoints={"every": 2})
    run = train(path, out=tmp_path / "run")
    whole = (run.model / "model.safetensors").read_bytes()
    for name in ("model", "checkpoints/step-00000004"):
        shutil.rmtree(run.folder / name)
    again = train(run.folder / "recipe.yaml" if own else path, out=run.folder, resume=True)
    assert (again.model / "model.safetensors").read_bytes() == whole
    other = write_recipe("other.yaml", base={**base, "prompts": {"query": "find: "}}, stopping={"steps": 4})
    with pytest.raises(RunError, match="is the run of another recipe"):
        train(other, out=run.folder, resume=True)


def test_a_run_that_began_without_its_bases_prompts_does_not_go_on_with_them(
    write_recipe: Write, tiny_model: Path, tmp_path: Path
) -> None:
    _plain(tiny_model, prompts=PROMPTS).save(str(tmp_path / "own"))
    path = write_recipe(base={"model": str(tmp_path / "own")}, stopping={"steps": 4}, checkpoints={"every": 2})
    run = train(path, out=tmp_path / "run")
    shutil.rmtree(run.model)
    old = yaml.safe_load((run.folder / "recipe.yaml").read_text())
    del old["base"]["prompts"]
    (run.folder / "recipe.yaml").write_text(yaml.safe_dump(old))
    with pytest.raises(RunError, match=r"trained without the base's prompts \(rows: anchor 'ask: '"):
        train(path, out=run.folder, resume=True)


def test_recipes_without_prompts_have_the_hash_they_had(write_recipe: Write) -> None:
    recipe = load_recipe(write_recipe())
    named = load_recipe(write_recipe(data=[{"name": "rows", "file": "x.jsonl", "kind": "pairs", "prompts": {}}]))
    bare = load_recipe(write_recipe(data=[{"name": "rows", "file": "x.jsonl", "kind": "pairs"}]))
    assert named.hash8 == bare.hash8
    assert "prompts" in recipe.model_dump()["base"]


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no text": ({"base": {"model": "MODEL", "prompts": {"query": 3}}}, "base.prompts.query: found 3; allowed: a text"),
    "no name": ({"base": {"model": "MODEL", "prompts": {"": "x"}}}, "found a prompt without a name"),
    "words for a name": (
        {"data": [{"name": "r", "file": "rows.jsonl", "kind": "pairs", "prompts": {"anchor": "query: "}}]},
        r"data\[0\].prompts.anchor: found 'query: ', which is not the name of a prompt of .*; allowed: document, "
        "query, or an empty text for none; write the words into base.prompts",
    ),
    "another kind's column": (
        {"data": [{"name": "r", "file": "rows.jsonl", "kind": "pairs", "prompts": {"sentence1": "query"}}]},
        r"data\[0\].prompts.sentence1: found a prompt for 'sentence1', which kind 'pairs' does not have; allowed: ",
    ),
    "an unknown column": (
        {"data": [{"name": "r", "file": "rows.jsonl", "kind": "pairs", "prompts": {"ancor": "query"}}]},
        r"data\[0\].prompts.ancor: found an unknown key; .* did you mean 'anchor'\?",
    ),
    "a class head's text": (
        {"data": [{"name": "r", "file": "rows.jsonl", "kind": "labelled", "prompts": {"text": "query"}}]},
        r"whose class head reads what `encode` gives; allowed: none; write `base: \{default_prompt_name: query\}`",
    ),
    "masked text": (
        {
            "data": [{"name": "r", "file": "rows.txt", "kind": "text", "prompts": {"text": "query"}}],
            "objectives": [{"kind": "mlm"}],
        },
        r"data\[0\].prompts.text: found 'query' for kind 'text', which masked-language modelling reads as it is",
    ),
    "a teacher's without one": (
        {"objectives": [{"kind": "distill", "teacher_prompts": {"query": "q"}}]},
        r"objectives\[0\].teacher_prompts: found prompts without a teacher",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_wrong_is_told(write_recipe: Write, tiny_model: Path, case: str) -> None:
    changes, said = FAULTS[case]
    changes = {**changes, "base": {**changes.get("base", {}), "model": str(tiny_model)}}
    problems = "\n".join(inspect_recipe(write_recipe(**changes)).problems)
    import re

    assert re.search(said, problems), problems


def test_a_prompt_that_leaves_no_room_is_refused(
    write_recipe: Write, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = {"model": str(tiny_model), "prompts": {"query": "the cat " * 12}}
    with pytest.raises(
        RecipeError, match=r"base.prompts.query: found a prompt of 26 tokens, of 24 that a text may have"
    ):
        train(write_recipe(base=base), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(write_recipe(base=base, batch={"size": 16, "max_length": 40}), out=tmp_path / "run", dry_run=True)
    assert "found a prompt of 26 tokens, of 40 that a text may have with it; longer texts are cut" in caplog.text


def test_a_name_that_the_teacher_does_not_have_is_told(
    write_recipe: Write, tiny_model: Path, other_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    path = write_recipe(
        base={"model": str(tiny_model), "prompts": PROMPTS},
        data=[{"name": "rows", "file": str(rows_file), "kind": "pairs", "prompts": {"anchor": "sts"}}],
        objectives=[{"kind": "distill", "teacher": str(other_model)}],
    )
    with pytest.raises(RecipeError, match=r"objectives\[0\].teacher_prompts: found no 'sts', which a source asks for"):
        train(path, out=tmp_path / "run")


def test_a_held_out_set_of_classes_or_plain_text_takes_no_prompt() -> None:
    with pytest.raises(ValueError, match="class head reads what"):
        HeldOut.model_validate({"name": "x", "file": "x.jsonl", "kind": "labelled", "prompts": {"text": "query"}})
