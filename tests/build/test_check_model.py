"""Dims, layers and vocabulary against the base, which is not opened."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModel

from matryoshka_text.build.check import inspect_recipe
from matryoshka_text.encoder import resolve_model
from matryoshka_text.errors import RecipeError
from matryoshka_text.evaluation.models import open_subject
from matryoshka_text.training import train

Check = Callable[..., list[str]]
Family = Callable[[str], Path]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """The problems of a recipe on a base, without file and line, and without the base's folder."""
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("a\nb\nc\n")
    Path("p.csv").write_text("anchor,positive\na,b\nc,d\ne,f\n")

    def problems(base: Path, *objectives: dict[str, Any], **more: Any) -> list[str]:
        text = any(one["kind"] == "mlm" for one in objectives)
        source = (
            {"name": "s", "file": "t.txt", "kind": "text"} if text else {"name": "s", "file": "p.csv", "kind": "pairs"}
        )
        values = {"name": "r", "base": {"model": str(base)}, "dims": [4, 16], "data": [source]}
        values |= {"objectives": list(objectives), "batch": {"size": 2}, "stopping": {"steps": 2}, **more}
        Path("r.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        return [line.partition(": ")[2].replace(str(base), "BASE") for line in inspect_recipe(Path("r.yaml")).problems]

    return problems


MLM = {"kind": "mlm"}
CONTRAST = {"kind": "info_nce"}
FAMILIES = ("bert", "roberta", "mpnet", "distilbert", "modernbert", "electra", "deberta-v2")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_can_be_run(check: Check, family: Family, name: str) -> None:
    assert check(family(name), MLM) == []
    assert check(family(name), CONTRAST, layers={"kind": "random", "lowest": 3}, dims=[4, 32]) == []
    assert check(family(name), CONTRAST, layers={"kind": "pairs", "pairs": [[2, 4], [4, 32]]}, dims=[4, 32]) == []


def test_dims_by_a_word(check: Check, family: Family) -> None:
    assert check(family("bert"), CONTRAST, dims="log") == []
    assert check(family("bert"), {"kind": "distill"}, dims="log") == []
    assert check(family("bert"), MLM, dims="log") == []


def test_one_dim_alone_needs_no_full_width(check: Check, family: Family) -> None:
    assert check(family("bert"), {"kind": "distill"}, dims=[8]) == []
    (problem,) = check(family("bert"), {"kind": "distill"}, dims=[8, 16])
    assert problem.startswith("dims[1]: found 16, but distill anchors full width, which is 32 for BASE")


@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_layers_above_the_depth(check: Check, family: Family, name: str) -> None:
    assert check(family(name), CONTRAST, layers={"kind": "random", "lowest": 4}) == [
        "layers.lowest: found 4, and BASE has 4 layers; allowed: 1 to 3, a layer below the last; use a lower one"
    ]
    assert check(family(name), CONTRAST, layers={"kind": "pairs", "pairs": [[2, 4], [6, 16]]}) == [
        "layers.pairs[1]: found layer 6, and BASE has 4 layers; allowed: 1 to 4; use lower layers, or another base"
    ]
    assert check(family(name), CONTRAST, layers={"kind": "pairs", "pairs": [[2, 4], [3, 16]]}) == [
        "layers.pairs[1]: found layer 3 in the last pair, and BASE has 4 layers; allowed: a last pair that is the full "
        "model; add [4, the largest dim]"
    ]


def test_pairs_at_dims_that_the_word_log_does_not_mean(check: Check, family: Family) -> None:
    layers = {"kind": "pairs", "pairs": [[1, 8], [2, 12], [3, 16], [4, 32]]}
    assert check(family("bert"), CONTRAST, dims="log", layers=layers) == [
        "layers.pairs[1]: found dim 12, which is not in dims; allowed: 8, 16, 32, which log means for BASE; "
        "use one of these"
    ]


def test_pairs_that_leave_out_a_dim_that_the_word_log_means(check: Check, family: Family) -> None:
    layers = {"kind": "pairs", "pairs": [[2, 8], [4, 16]]}
    assert check(family("bert"), CONTRAST, dims="log", layers=layers) == [
        "layers.pairs[1]: found dim 16 in the last pair; allowed: 32, the largest of dims, which log means for BASE, "
        "since the last pair is the full model; write 32 there, or add a pair of the last layer and 32"
    ]
    layers = {"kind": "pairs", "pairs": [[2, 8], [4, 32]]}
    assert check(family("bert"), CONTRAST, dims="log", layers=layers) == [
        "layers.pairs: found no pair at 16 of dims; allowed: a pair for each of 8, 16, 32, which log means for BASE, "
        "since no objective next to (mlm, classify) reads it; add pairs, or list the dims"
    ]
    (problem,) = check(family("bert"), CONTRAST, MLM, dims="log", layers=layers)
    assert problem.startswith("objectives[0].kind: found info_nce without data"), "mlm reads 16"


@pytest.mark.parametrize("weights", [[1, 2], [1, 2, 3, 4], []])
def test_as_many_weights_as_dims_that_the_word_log_means(check: Check, family: Family, weights: list[int]) -> None:
    assert check(family("bert"), CONTRAST, dims="log", weights=[1, 2, 3]) == []
    assert check(family("bert"), CONTRAST, dims="log", weights=weights) == [
        f"weights: found {len(weights)} weights for the 3 dims 8, 16, 32, which log means for BASE; allowed: one a "
        "dim, or uniform, low or learned; write 3 numbers"
    ]


def test_layers_that_are_wrong_by_themselves_bring_no_other_fault(check: Check, family: Family) -> None:
    (problem,) = check(family("bert"), CONTRAST, layers={"kind": "pairs", "pairs": [[2, 4], ["six", 16]]})
    assert problem.startswith("layers.")


def test_a_narrow_vocabulary_matrix(check: Check, family: Family) -> None:
    assert check(family("electra"), {**MLM, "cut": "hidden"}) == [
        "objectives[0].cut: found hidden, but the vocabulary matrix of BASE is 16 wide and its hidden states are 32; "
        "allowed: transform or nested, which bring them to 16; use one of these"
    ]
    assert check(family("electra"), MLM, dims=[4, 24, 32, 48]) == [
        "dims[3]: found 48, and BASE gives vectors of width 32; allowed: at most 32; use smaller dims, or another base",
        *(
            f"dims[{index}]: found {dim}, but mlm reads prefixes of the vocabulary matrix of BASE, which is 16 wide; "
            "allowed: at most 16; use smaller dims, or another base"
            for index, dim in ((1, 24), (2, 32))
        ),
    ]
    assert check(family("electra"), MLM, dims="log") == [
        "dims: found log, which ends at 32, but mlm reads prefixes of the vocabulary matrix of BASE, which is 16 wide; "
        "allowed: at most 16; write a list of dims"
    ]


def test_a_nested_cut_of_one_number(check: Check, family: Family) -> None:
    assert check(family("bert"), {**MLM, "cut": "nested"}, dims=[1, 16]) == [
        "dims[0]: found 1, but mlm with cut nested normalises each prefix, and one number has no spread; "
        "allowed: at least 2; remove it, or use cut transform"
    ]
    assert check(family("bert"), {**MLM, "cut": "hidden"}, dims=[1, 16]) == []


def test_a_tokenizer_without_a_mask_token(check: Check, family: Family, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(family("bert"), base)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps({**settings, "mask_token": None}))
    (base / "special_tokens_map.json").unlink(missing_ok=True)
    assert check(base, MLM) == [
        "objectives[0].kind: found mlm, and the tokenizer of BASE has no mask token; allowed: a base that was trained "
        "with one; use another base, or remove the objective"
    ]
    assert check(base, CONTRAST) == []


@pytest.mark.parametrize("name", FAMILIES)
def test_a_decoder_of_its_own(check: Check, family: Family, tmp_path: Path, name: str) -> None:
    base = tmp_path / "base"
    shutil.copytree(family(name), base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    assert check(base, MLM) == [
        "objectives[0].kind: found mlm, and the config.json of BASE has tie_word_embeddings false, a decoder of its "
        "own; allowed: a decoder that is the vocabulary matrix; set it to true, which drops the other decoder, or use "
        "another base"
    ]
    assert check(base, CONTRAST) == []


def test_a_damaged_configuration_is_a_problem(check: Check, family: Family, tmp_path: Path) -> None:
    shutil.copytree(family("bert"), tmp_path / "base")
    (tmp_path / "base" / "modules.json").write_text("{")
    (problem,) = check(tmp_path / "base", MLM)
    assert problem.startswith("base.model: found")
    assert "modules.json: found" in problem and "allowed: JSON" in problem


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"query_expansion": {"strategy": "fixed", "length": 16}}, "query_expansion"),
        ({"processing_kwargs": {"text": {"add_special_tokens": False}}}, "processing_kwargs"),
        ({"processing_kwargs": {"common": {"padding": "max_length"}}}, "processing_kwargs"),
    ],
)
def test_settings_that_training_cannot_follow(
    check: Check, tiny_model: Path, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "m")
    file = model / "sentence_bert_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    refused = f"found a model with {words} in its sentence_bert_config.json, which training cannot follow"
    (problem,) = check(model, CONTRAST)
    assert problem.startswith(f"base.model: {refused}")
    with pytest.raises(RecipeError, match=rf"base\.model: {refused}"):
        train("r.yaml", dry_run=True)
    (problem,) = check(tiny_model, {"kind": "distill", "teacher": str(model)}, dims=[4, 32])
    assert problem.startswith(f"objectives[0].teacher: {refused}")
    with pytest.raises(RecipeError, match=rf"objectives\[0\]\.teacher: {refused}"):
        train("r.yaml", dry_run=True)


def test_a_length_of_its_own_is_followed(check: Check, tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "m")
    file = model / "sentence_bert_config.json"
    settings = {"processing_kwargs": {"text": {"max_length": 12, "truncation": True}}, "query_length": 8}
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    assert check(model, CONTRAST) == []


def test_an_adapter_as_base(check: Check, tiny_model: Path, tmp_path: Path) -> None:
    model = get_peft_model(AutoModel.from_pretrained(tiny_model), LoraConfig(r=2, target_modules=["query"]))
    model.save_pretrained(tmp_path / "adapter")
    assert check(tmp_path / "adapter", CONTRAST) == []
    assert "dims[1]: found 40" in check(tmp_path / "adapter", CONTRAST, dims=[4, 40])[0]
    assert check(tmp_path / "adapter", CONTRAST) == []
    run = train("r.yaml", out=tmp_path / "run")
    assert not list(run.model.rglob("adapter*"))
    base = resolve_model(str(tmp_path / "adapter")).weights()
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["model"]["base"] == base
    assert open_subject(str(tmp_path / "adapter")).weights == base
