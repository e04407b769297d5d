"""A model that brings its own Python code: opened only where the command or the recipe says so."""

import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from matryoshka_text.build.check import inspect_recipe
from matryoshka_text.build.parts import build_teacher
from matryoshka_text.doctor import examine
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import ModelError
from matryoshka_text.evaluation.models import open_subject
from matryoshka_text.heads.classifier import MatryoshkaClassifier
from matryoshka_text.heads.family import masked_language_model
from matryoshka_text.heads.masked_lm import MatryoshkaMaskedLM
from matryoshka_text.recipe import load_recipe
from matryoshka_text.rotating.model import open_base

_CODE = """
from transformers import BertConfig, BertForMaskedLM, BertModel

class CustomConfig(BertConfig):
    model_type = "custom_bert"

class CustomModel(BertModel):
    config_class = CustomConfig

class CustomForMaskedLM(BertForMaskedLM):
    config_class = CustomConfig
"""
_RECIPE = """
name: x
base: {{model: ./m, trust_remote_code: {trusted}}}
dims: [8, 16]
data: [{{name: pairs, kind: pairs, file: pairs.jsonl}}]
objectives: [{{kind: info_nce}}]
stopping: {{steps: 1}}
batch: {{size: 2}}
"""


@pytest.fixture
def custom(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    model = shutil.copytree(tiny_model, tmp_path / "m")
    config = json.loads((model / "config.json").read_text())
    kinds = {"AutoConfig": "Config", "AutoModel": "Model", "AutoModelForMaskedLM": "ForMaskedLM"}
    code = {kind: f"custom.Custom{name}" for kind, name in kinds.items()}
    (model / "config.json").write_text(json.dumps(config | {"model_type": "custom_bert", "auto_map": code}))
    (model / "custom.py").write_text(_CODE)
    return model


def test_the_code_is_run_only_if_asked_for(custom: Path) -> None:
    with pytest.raises(ModelError, match=r"'custom_bert'.*brings Python code along .*--trust-remote-code"):
        MatryoshkaEncoder(custom, device="cpu")
    with pytest.raises(ModelError, match="--trust-remote-code"):
        open_subject(str(custom))
    assert type(open_base(custom, trust_remote_code=True).encoder.transformers_model).__name__ == "CustomModel"
    subject = open_subject(str(custom), trust_remote_code=True)
    assert subject.width == 32 and subject.encoder("cpu").width == 32


@pytest.mark.parametrize("trusted", [True, False])
def test_check_says_what_training_would(custom: Path, tmp_path: Path, trusted: bool) -> None:
    rows = [{"anchor": f"cat {place}", "positive": f"dog {place}"} for place in range(4)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "r.yaml").write_text(_RECIPE.format(trusted=str(trusted).lower()))
    problems = inspect_recipe(tmp_path / "r.yaml").problems
    assert problems == [] if trusted else "model_type 'custom_bert'" in problems[0]


def test_heads_and_doctor_open_it_too(custom: Path) -> None:
    with pytest.raises(ModelError, match="--trust-remote-code"):
        MatryoshkaMaskedLM(custom, cut="transform", device="cpu")
    encoder = MatryoshkaEncoder(custom, device="cpu", trust_remote_code=True)
    model, lacking = masked_language_model(encoder, 0)
    assert type(model).__name__ == "CustomForMaskedLM" and lacking
    with pytest.raises(ModelError, match="holds no trained head"):  # the tiny checkpoint has none
        MatryoshkaMaskedLM(custom, cut="transform", device="cpu", trust_remote_code=True)
    with pytest.raises(ModelError, match="has no classification head"):
        MatryoshkaClassifier(custom, device="cpu", trust_remote_code=True)
    assert next(line.text for line in examine(str(custom)).lines if line.wrong).count("--trust-remote-code") == 1
    found = examine(str(custom), trust_remote_code=True)
    assert any("Transformer (custom_bert, 2 layers)" in line.text for line in found.lines)
    assert not [line for line in found.lines if line.wrong and line.part != "files"]


@pytest.mark.parametrize("trusted", [True, False])
def test_a_teacher_with_code_of_its_own(custom: Path, tiny_model: Path, tmp_path: Path, trusted: bool) -> None:
    rows = [{"anchor": f"cat {place}", "positive": f"dog {place}"} for place in range(4)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    objective = f"{{kind: distill, teacher: ./m, teacher_trust_remote_code: {str(trusted).lower()}}}"
    text = _RECIPE.format(trusted="false").replace("model: ./m", f"model: {tiny_model}")
    (tmp_path / "r.yaml").write_text(text.replace("{kind: info_nce}", objective).replace("16]", "32]"))
    problems = inspect_recipe(tmp_path / "r.yaml").problems
    assert problems == [] if trusted else "teacher" in problems[0] and "model_type 'custom_bert'" in problems[0]
    recipe = load_recipe(tmp_path / "r.yaml")
    student = MatryoshkaEncoder(tiny_model, device="cpu")
    with nullcontext() if trusted else pytest.raises(ModelError, match="custom_bert"):
        teacher = build_teacher(recipe, student)
        assert type(teacher.transformers_model).__name__ == "CustomModel"


@pytest.mark.parametrize("verb", ["encode", "eval", "rotate", "dims", "search", "index", "doctor"])
def test_each_verb_that_opens_a_model_has_the_option(verb: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "matryoshka_text", verb, "--help"], capture_output=True, text=True, check=True
    )
    assert "--trust-remote-code" in shown.stdout
