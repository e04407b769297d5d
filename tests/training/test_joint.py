"""Several streams and objectives in one run: what is logged, what is saved, and what the losses are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from matryoshka_text import load_recipe, train
from matryoshka_text.data import read_sources, streams_of
from matryoshka_text.data.masking import Masker
from matryoshka_text.data.packing import pack
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import DataError, RecipeError
from matryoshka_text.heads.classifier import MatryoshkaClassifier
from matryoshka_text.heads.masked_lm import MatryoshkaMaskedLM
from matryoshka_text.heads.vocabulary import backbone_of, vocabulary_matrix
from matryoshka_text.recipe import twins_of
from matryoshka_text.training.batches import StreamPlan

Write = Callable[..., Path]
Still = Callable[[Path, Path], Path]
DIMS = ["4", "8", "16", "32"]


def _metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_every_stream_is_trained_logged_and_saved(
    write_recipe: Write, everything: dict[str, Any], tmp_path: Path
) -> None:
    run = train(write_recipe(**everything), out=tmp_path / "run")
    lines = _metrics(run.folder)
    names = {"info_nce", "self_distill", "mlm", "classify", "cosent", "score_distill"}
    below = {f"{name}@1" for name in ("info_nce", "cosent", "score_distill", "layers_pairs", "layers_scored")}
    assert all(set(line["per_dim"]) == names | below for line in lines)
    assert all(list(row) == DIMS for line in lines for row in line["per_dim"].values())
    assert all(list(row) == DIMS for row in lines[-1]["weights"].values())
    assert lines[-1]["weights"]["mlm"] != lines[0]["weights"]["mlm"]

    classifier = MatryoshkaClassifier(run.model, device="cpu")
    assert classifier.classes == ("animal", "city", "school")
    assert set(classifier.predict(["the cat", "a school"], dim=8)) <= set(classifier.classes)
    masked = MatryoshkaMaskedLM(run.model, device="cpu")
    matrix = vocabulary_matrix(backbone_of(masked.encoder))
    assert matrix is backbone_of(masked.encoder).get_input_embeddings().weight
    assert MatryoshkaEncoder(run.model, device="cpu").layers == (1, 2)


def test_the_masked_loss_is_its_definition(
    write_recipe: Write, family: Callable[[str], Path], stream_files: dict[str, Any], still: Still, tmp_path: Path
) -> None:
    """The first step's losses against the family's own model and a loop in float64 over masked tokens and dims."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    base = still(family("bert"), tmp_path / "still")
    path = write_recipe(
        base={"model": str(base)},
        data=[stream_files["text"]],
        objectives=[{"kind": "mlm", "cut": "transform", "max_length": 16, "weight": 0.5}],
        weights=[1.0, 2.0, 0.5, 1.5],
        batch={"size": 8, "chunk": 3},
        stopping={"steps": 1},
    )
    run = train(path, out=tmp_path / "run")
    line = _metrics(run.folder)[0]

    recipe = load_recipe(path)
    examples = streams_of(recipe, read_sources(recipe))["text"]
    tokenizer = AutoTokenizer.from_pretrained(base)
    packed = pack(examples.columns[0], tokenizer, max_length=16, packing=True)
    rows = StreamPlan(recipe, "text", examples, packed).first.batches[0].tolist()
    masked = Masker(tokenizer).mask([packed.ids(row) for row in rows], keys=[(0, 0, row) for row in rows])
    model = AutoModelForMaskedLM.from_pretrained(base).eval()
    matrix, bias = (
        model.get_input_embeddings().weight.detach().double(),
        model.get_output_embeddings().bias.detach().double(),
    )
    losses: dict[int, list[float]] = {4: [], 8: [], 16: [], 32: []}
    for sequence in masked:
        with torch.no_grad():
            hidden = model.base_model(torch.from_numpy(sequence.ids)[None]).last_hidden_state[0]
            transformed = model.cls.predictions.transform(hidden).double()
        for position, target in zip(sequence.positions, sequence.targets, strict=True):
            for dim, found in losses.items():
                logits = matrix[:, :dim] @ transformed[position, :dim] + bias
                found.append(float(torch.logsumexp(logits, 0) - logits[target]))
    expected = [float(np.mean(found)) for found in losses.values()]
    assert list(line["per_dim"]["mlm"].values()) == pytest.approx(expected, rel=1e-5)
    assert line["loss"] == pytest.approx(0.5 * float(np.dot([1.0, 2.0, 0.5, 1.5], expected)), rel=1e-5)


def _unit(vectors: np.ndarray, dim: int) -> np.ndarray:
    cut = vectors[:, :dim].astype(np.float64)
    return cut / np.linalg.norm(cut, axis=1, keepdims=True)


def _info_nce(first: np.ndarray, second: np.ndarray, dim: int) -> float:
    logits = _unit(first, dim) @ _unit(second, dim).T / 0.05
    return float(np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(logits)]))


def _divergence(below: np.ndarray, last: np.ndarray, dim: int) -> float:
    """KL from the last layer's similarities at full width, every text against all others."""
    taught, own = (_unit(v, d) @ _unit(v, d).T / 0.05 for v, d in ((last, last.shape[1]), (below, dim)))
    total = 0.0
    for i in range(len(own)):
        others = [j for j in range(len(own)) if j != i]
        p, q = (np.exp(m[i, others]) / np.exp(m[i, others]).sum() for m in (taught, own))
        total += float((p * np.log(p / q)).sum())
    return total / len(own)


def _cosent(first: np.ndarray, second: np.ndarray, scores: list[float], dim: int) -> float:
    cosines = (_unit(first, dim) * _unit(second, dim)).sum(1)
    terms = [
        np.exp((cosines[j] - cosines[i]) / 0.05)
        for i in range(len(scores))
        for j in range(len(scores))
        if scores[i] > scores[j]
    ]
    return float(np.log(1 + sum(terms)))


def test_the_losses_at_two_layers_are_their_definitions(
    write_recipe: Write, stream_files: dict[str, Any], tiny_model: Path, still: Still, tmp_path: Path
) -> None:
    """The first step of a run on pairs and scored pairs, against loops in float64 over encoded vectors."""
    base = still(tiny_model, tmp_path / "still")
    path = write_recipe(
        base={"model": str(base)},
        data=[stream_files["pairs"], stream_files["scored"]],
        objectives=[{"kind": "info_nce"}, {"kind": "cosent", "weight": 0.5}],
        layers={"kind": "random", "weight": 0.25, "kl_weight": 2.0},
        stopping={"steps": 1},
    )
    line = _metrics(train(path, out=tmp_path / "run").folder)[0]["per_dim"]
    total = _metrics(tmp_path / "run")[0]["loss"]

    recipe, encoder = load_recipe(path), MatryoshkaEncoder(base, device="cpu")
    streams, expected = streams_of(recipe, read_sources(recipe)), {}
    for name, loss in (("pairs", "info_nce"), ("scored", "cosent")):
        examples = streams[name]
        rows = StreamPlan(recipe, name, examples, None).first.batches[0].tolist()
        texts = [[column[row] for row in rows] for column in examples.columns]
        vectors = {layer: [encoder.encode(t, layers=layer) for t in texts] for layer in (1, 2)}
        for layer, suffix in ((1, "@1"), (2, "")):
            first, second = vectors[layer]
            for dim in (4, 8, 16, 32):
                if loss == "info_nce":
                    value = _info_nce(first, second, dim)
                else:
                    value = _cosent(first, second, [float(examples.values[row]) for row in rows], dim)
                expected[loss + suffix, dim] = value
        below, last = (np.concatenate(vectors[layer]) for layer in (1, 2))
        expected |= {(f"layers_{name}@1", dim): _divergence(below, last, dim) for dim in (4, 8, 16, 32)}
    for (name, dim), value in expected.items():
        assert line[name][str(dim)] == pytest.approx(value, rel=1e-4, abs=1e-6), (name, dim)
    weight = {"info_nce": 1.0, "info_nce@1": 0.25, "cosent": 0.5, "cosent@1": 0.125}
    joined = sum(weight.get(name, 2.0) * value for (name, _), value in expected.items())
    assert total == pytest.approx(joined, rel=1e-4)


@pytest.mark.parametrize("how", ["nested_dropout", "one_and_full"])
def test_drawn_dims_are_logged_and_evaluation_reads_all(
    write_recipe: Write, rows_file: Path, tmp_path: Path, how: str
) -> None:
    held_out = {"name": "found", "file": str(rows_file), "kind": "pairs", "rows": 30}
    path = write_recipe(dims_per_step=how, evaluation={"every": 8, "data": [held_out]})
    lines = _metrics(train(path, out=tmp_path / "run").folder)
    read = [list(line["per_dim"]["info_nce"]) for line in lines if "loss" in line]
    assert {len(dims) for dims in read} == {1 if how == "nested_dropout" else 2}
    assert len({tuple(dims) for dims in read}) > 1
    assert [list(line["evaluation"]["found"]) for line in lines if "evaluation" in line] == [DIMS, DIMS]


def test_streams_are_drawn_by_their_shares(write_recipe: Write, stream_files: dict[str, Any], tmp_path: Path) -> None:
    path = write_recipe(
        data=[stream_files["pairs"], stream_files["text"]],
        objectives=[{"kind": "info_nce"}, {"kind": "mlm", "max_length": 16}],
        stream_shares={"pairs": 0.75, "text": 0.25},
        stopping={"steps": 40},
        batch={"size": 4, "max_length": 12},
    )
    lines = _metrics(train(path, out=tmp_path / "run").folder)
    assert {tuple(line["per_dim"]) for line in lines} == {("info_nce",), ("mlm",)}
    assert 22 <= sum("info_nce" in line["per_dim"] for line in lines) <= 37


def test_held_out_sets_of_every_kind(
    write_recipe: Write, everything: dict[str, Any], stream_files: dict[str, Any], tmp_path: Path
) -> None:
    sets = [stream_files[kind] | {"rows": 40} for kind in ("text", "labelled")]
    changes = everything | {"evaluation": {"every": 6, "data": sets}}
    lines = _metrics(train(write_recipe(**changes), out=tmp_path / "run").folder)
    scores = [line["evaluation"] for line in lines if "evaluation" in line]
    assert [set(one) for one in scores] == [{"text", "labelled"}] * 2
    assert all(0 <= value <= 100 for one in scores for row in one.values() for value in row.values())


def test_gradient_caching_changes_nothing(write_recipe: Write, everything: dict[str, Any], tmp_path: Path) -> None:
    """With dropout: every chunk draws in its second pass what it drew in its first."""
    runs = []
    for cached in (False, True):
        batch = {"size": 8, "max_length": 16, "chunk": 3, "gradient_caching": cached}
        path = write_recipe(f"{cached}.yaml", **everything | {"batch": batch, "stopping": {"steps": 3}})
        runs.append(_metrics(train(path, out=tmp_path / str(cached)).folder))
    for kept, cached in zip(*runs, strict=True):
        assert kept["loss"] == pytest.approx(cached["loss"], rel=1e-6)
        assert kept["gradient_norm"] == pytest.approx(cached["gradient_norm"], rel=1e-5)


def test_lora_trains_every_objective_and_is_merged(
    write_recipe: Write, everything: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    run = train(write_recipe(**everything, lora={"rank": 2}), out=tmp_path / "run")
    after, before = (MatryoshkaEncoder(path, device="cpu") for path in (run.model, tiny_model))
    assert not any("lora" in name for name in after.state_dict())
    changed = [n for n, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[n])]
    assert changed and all(name.endswith(".weight") for name in changed)
    assert not any("embeddings" in name for name in changed)  # frozen, so the tied decoder is the base's
    assert MatryoshkaMaskedLM(run.model, device="cpu").head.cut == "nested"


def test_a_kept_adapter_opens_in_peft_on_the_base(write_recipe: Write, tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModel

    run = train(write_recipe(lora={"rank": 2, "keep_adapter": True}, stopping={"steps": 3}), out=tmp_path / "run")
    assert not list(run.folder.rglob("*.bin"))
    adapted = PeftModel.from_pretrained(AutoModel.from_pretrained(tiny_model), run.folder / "adapter").eval()
    merged = AutoModel.from_pretrained(run.model).eval()
    ids = torch.arange(5, 17)[None]
    with torch.no_grad():
        theirs, ours = (model(input_ids=ids).last_hidden_state for model in (adapted, merged))
        base = AutoModel.from_pretrained(tiny_model).eval()(input_ids=ids).last_hidden_state
    torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(theirs, base, atol=1e-4)


def test_vectors_from_a_file_teach_as_the_model_they_came_from(
    write_recipe: Write, tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    teacher = MatryoshkaEncoder(tiny_model, device="cpu")
    # The training length, which the recipe sets to 24 tokens, cuts none of these texts.
    stored = {c: torch.from_numpy(teacher.encode([row[c] for row in rows])) for c in ("anchor", "positive")}
    save_file(stored, tmp_path / "taught.safetensors")
    source = {"name": "rows", "file": str(rows_file), "kind": "pairs", "rows": 200}
    live = write_recipe("live.yaml", data=[source], objectives=[{"kind": "distill"}], stopping={"steps": 3})
    given = write_recipe(
        "given.yaml",
        data=[source | {"vectors": str(tmp_path / "taught.safetensors")}],
        objectives=[{"kind": "distill", "vectors": True}],
        stopping={"steps": 3},
    )
    first, second = (_metrics(train(path, out=tmp_path / path.stem).folder) for path in (live, given))
    for a, b in zip(first, second, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_plain_text_is_mined_once(write_recipe: Write, stream_files: dict[str, Any], tmp_path: Path) -> None:
    source = {"name": "lines", "file": stream_files["text"]["file"], "kind": "mined", "neighbours": {"count": 3}}
    path = write_recipe(
        data=[source], objectives=[{"kind": "distill"}], batch={"size": 4, "max_length": 24}, stopping={"steps": 4}
    )
    run = train(path, out=tmp_path / "run")
    mined = run.folder / "mined-lines.jsonl"
    before = mined.stat().st_mtime_ns
    shutil.rmtree(run.model)
    assert train(path, out=tmp_path / "run", resume=True).steps == 4
    assert mined.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": {"kind": "random", "lowest": 2}}, r"layers\.lowest: found 2, and .* has 2 layers; allowed: 1 to 1"),
        (
            {"layers": {"kind": "pairs", "pairs": [[1, 4], [3, 32]]}, "dims": [4, 32]},
            r"layers\.pairs\[1\]: found layer 3, and .* has 2 layers; allowed: 1 to 2",
        ),
        (
            {"layers": {"kind": "pairs", "pairs": [[1, 4], [2, 16]]}, "dims": "log"},
            r"found dim 4, which is not in dims",
        ),
        (
            {"data": ["text"], "objectives": [{"kind": "mlm"}], "dims": [4, 64]},
            r"dims\[1\]: found 64, and .* gives vectors of width 32",
        ),
        (
            {"data": ["text"], "objectives": [{"kind": "mlm", "cut": "nested"}], "dims": [1, 32]},
            r"dims\[0\]: found 1, but mlm with cut nested",
        ),
        ({"objectives": [{"kind": "self_distill"}]}, r"found only self_distill"),
        (
            {
                "objectives": [{"kind": "info_nce"}, {"kind": "self_distill"}],
                "dims": [16, 32],
                "layers": {"kind": "pairs", "pairs": [[1, 16], [2, 32]]},
            },
            r"objectives\[1\]\.kind: found self_distill with layers of kind pairs",
        ),
        (
            {
                "data": ["pairs", "text"],
                "objectives": [{"kind": "self_distill"}, {"kind": "mlm", "max_length": 16}],
                "layers": {"kind": "random"},
            },
            r"layers: found layers, but no objective that trains layers below the last",
        ),
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_is_written(
    write_recipe: Write, stream_files: dict[str, Any], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    if "data" in changes:
        changes = changes | {"data": [stream_files[name] for name in changes["data"]]}
    with pytest.raises(RecipeError, match=message):
        train(write_recipe(**changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_without_a_mask_token_is_told(
    write_recipe: Write, tiny_model: Path, stream_files: dict[str, Any], tmp_path: Path
) -> None:
    base = tmp_path / "maskless"
    shutil.copytree(tiny_model, base)
    config = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(
        json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": None})
    )
    path = write_recipe(base={"model": str(base)}, data=[stream_files["text"]], objectives=[{"kind": "mlm"}])
    with pytest.raises(RecipeError, match="has no mask token"):
        train(path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_of_the_held_out_split_alone_is_told(
    write_recipe: Write, stream_files: dict[str, Any], tmp_path: Path
) -> None:
    rows = [{"text": "the moon", "label": "moon"}, {"text": "the cat", "label": "animal"}]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    held = {"name": "held", "file": str(tmp_path / "held.jsonl"), "kind": "labelled"}
    path = write_recipe(
        data=[stream_files["labelled"]],
        objectives=[{"kind": "classify"}],
        evaluation={"every": 4, "data": [held]},
    )
    with pytest.raises(DataError, match="moon"):
        train(path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_twins_share_everything_but_the_dims(write_recipe: Write, tmp_path: Path) -> None:
    path = write_recipe(dims=[8, 32], stopping={"steps": 3}, twins=["ff"])
    run = train(path, out=tmp_path / "run", twins=["plain"])
    assert run.steps == 3
    homes = sorted(home.name for home in (run.folder / "twins").iterdir())
    assert homes == ["ff-32", "ff-8", "plain"]
    for name, dims in (("ff-8", (8,)), ("ff-32", (32,)), ("plain", (32,))):
        assert MatryoshkaEncoder(run.folder / "twins" / name / "model", device="cpu").dims == dims
        assert len(_metrics(run.folder / "twins" / name)) == 3
    weights = [
        (run.folder / "twins" / name / "model" / "model.safetensors").read_bytes() for name in ("ff-32", "plain")
    ]
    assert weights[0] == weights[1]  # full width alone, either way
    again = train(path, out=tmp_path / "run", resume=True, twins=["plain"])
    assert "has ended already" in again.summary


def test_a_twin_leaves_out_what_nothing_reads_any_more(
    write_recipe: Write, stream_files: dict[str, Any], tmp_path: Path
) -> None:
    path = write_recipe(
        dims=[8, 32],
        data=[stream_files["pairs"], stream_files["labelled"]],
        objectives=[{"kind": "info_nce"}, {"kind": "self_distill"}, {"kind": "classify"}],
        stream_shares={"pairs": 1.0, "labelled": 1.0},
        stopping={"steps": 6},
        twins=["ff"],
    )
    run = train(path, out=tmp_path / "run")
    names = {name for line in _metrics(run.folder / "twins" / "ff-8") for name in line["per_dim"]}
    assert names == {"info_nce", "classify"}
    recipe = load_recipe(path)
    without = recipe.model_copy(update={"objectives": recipe.objectives[1:]})
    _, twin = next(twins_of(without, width=32, full=32, steps=5))
    assert (twin.stopping.steps, twin.stopping.epochs) == (5, None)
    assert [source.name for source in twin.data] == ["labelled"] and twin.stream_shares is None


def test_a_twin_takes_the_steps_that_its_run_took(write_recipe: Write, rows_file: Path, tmp_path: Path) -> None:
    """The run stops early, and a twin of epochs would count another stream's."""
    held_out = {"name": "found", "file": str(rows_file), "kind": "pairs", "rows": 30}
    path = write_recipe(
        dims=[8],
        stopping={"epochs": 2, "patience": 1},
        optimizer={"learning_rate": 1.0},
        evaluation={"every": 2, "data": [held_out]},
        twins=["plain"],
    )
    run = train(path, out=tmp_path / "run")
    taken = max(line["step"] for line in _metrics(run.folder))
    assert taken < run.steps
    assert max(line["step"] for line in _metrics(run.folder / "twins" / "plain")) == taken


def test_the_plain_twin_of_a_narrow_vocabulary_ends_at_its_width(
    write_recipe: Write, family: Callable[[str], Path], stream_files: dict[str, Any], tmp_path: Path
) -> None:
    path = write_recipe(
        base={"model": str(family("electra"))},
        dims=[4, 16],
        data=[stream_files["text"]],
        objectives=[{"kind": "mlm", "max_length": 16}],
        stopping={"steps": 1},
        twins=["plain"],
    )
    run = train(path, out=tmp_path / "run")
    assert MatryoshkaEncoder(run.folder / "twins" / "plain" / "model", device="cpu").dims == (16,)


def test_heads_of_the_base_are_not_passed_on_with_another_encoder(
    write_recipe: Write, stream_files: dict[str, Any], tmp_path: Path
) -> None:
    labelled = write_recipe(data=[stream_files["labelled"]], objectives=[{"kind": "classify"}], stopping={"steps": 1})
    first = train(labelled, out=tmp_path / "first")
    assert (first.model / "heads" / "classifier").is_dir()
    second = train(write_recipe(base={"model": str(first.model)}, stopping={"steps": 1}), out=tmp_path / "second")
    assert not (second.model / "heads").exists()


def test_weights_of_another_number_than_the_halvings_are_told(write_recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"weights: found 2 weights for the 3 dims 8, 16, 32, which log means"):
        train(write_recipe(dims="log", weights=[1.0, 2.0]), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_log_is_the_halvings_of_the_width(write_recipe: Write, tmp_path: Path) -> None:
    path = write_recipe(dims="log", stopping={"steps": 2})
    run = train(path, out=tmp_path / "run")
    assert MatryoshkaEncoder(run.model, device="cpu").dims == (8, 16, 32)
    assert train(path, out=tmp_path / "run", resume=True).steps == 0
