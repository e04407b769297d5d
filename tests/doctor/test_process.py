"""`mtext doctor` as a process: nothing, MiniLM, a damaged model, a recipe, a run, a killed run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from matryoshka_text.doctor import Examination, Line, examine
from matryoshka_text.training import train

TOKEN = "hf_AVerySecretTokenOfSomebody"
ENV = {
    **os.environ,
    **{"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_TOKEN": TOKEN, "HTTPS_PROXY": f"http://me:{TOKEN}@proxy:1"},
}


def mtext(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "matryoshka_text", *map(str, arguments)]


def doctor(*arguments: object) -> tuple[dict[str, list[str]], list[str]]:
    """The texts by part, and the wrong ones; the same on one screen has been looked at."""
    done = subprocess.run(mtext("doctor", *arguments, "--json"), env=ENV, capture_output=True, text=True, check=False)
    assert not done.stderr
    assert TOKEN not in done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    lines = tuple(Line(**line) for line in found["lines"])
    wrong = [line.text for line in lines if line.wrong]
    assert found["ok"] is (not wrong)
    assert done.returncode == (2 if wrong else 0)
    require_one_screen(Examination(lines))
    parts: dict[str, list[str]] = {}
    for line in lines:
        parts.setdefault(line.part, []).append(line.text)
    return parts, wrong


def require_one_screen(found: Examination) -> None:
    rows = str(found).splitlines()
    assert len(rows) <= 40
    assert max(map(len, rows)) <= 100
    assert sum(row.startswith("! ") for row in rows) >= min(1, sum(line.wrong for line in found.lines))
    assert rows[-1].startswith("All agrees." if found.ok else "Wrong: ")


def test_nothing_is_this_machine() -> None:
    parts, wrong = doctor()
    assert not wrong
    assert list(parts) == ["mtext", "packages", "device", "precision", "threads", "memory", "disk", "offline"]
    assert parts["offline"][0].startswith("HF_HUB_OFFLINE=1, ")
    assert "HTTPS_PROXY set; " in parts["offline"][0]
    assert parts["offline"][0].endswith("; a token is set (not shown)")


def test_a_real_model(minilm: Path) -> None:
    parts, wrong = doctor(minilm)
    assert not wrong
    assert parts["modules"] == ["Transformer (bert, 6 layers) → Pooling (mean) → Normalize"]
    assert parts["dims"][0].startswith("width 384; not Matryoshka")
    assert parts["tokenizer"] == ["BertTokenizer, 30,522 tokens for 30,522 rows; padding id 0"]
    assert parts["positions"] == ["texts are cut at 256 tokens; the model can read 512"]


def test_a_damaged_model(tiny_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:5000])
    _, wrong = doctor(model)
    assert len(wrong) == 1
    assert "cannot be opened" in wrong[0]


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("sentence_bert_config.json", {"max_seq_length": 500}, "cuts texts at 500 tokens, but the model reads 128"),
        ("config.json", {"matryoshka_dimensions": [8, 99]}, "of which [8] can be used"),
        ("config_sentence_transformers.json", {"default_prompt_name": "q"}, "cannot be opened"),
    ],
)
def test_parts_of_a_model_that_do_not_agree(
    tiny_model: Path, tmp_path: Path, name: str, values: dict[str, Any], said: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / name).write_text(json.dumps(json.loads((model / name).read_text()) | values))
    found = examine(str(model))
    require_one_screen(found)
    assert any(said in line.text for line in found.lines if line.wrong)


@pytest.mark.parametrize("name", ["nobody/nothing", "", "~nosuch/x", "a\nb", "a\0b", "x.yaml", "é" * 5000])
def test_what_is_not_there_is_a_line(name: str) -> None:
    found = examine(name)
    require_one_screen(found)
    assert not found.ok


@pytest.fixture
def recipe(tiny_model: Path, tmp_path: Path) -> Path:
    (tmp_path / "pairs.jsonl").write_text("".join(f'{{"anchor": "a {i}", "positive": "the {i}"}}\n' for i in range(64)))
    path = tmp_path / "tiny.yaml"
    values = {
        "name": "tiny",
        "base": {"model": str(tiny_model)},
        "dims": [8, 32],
        "data": [{"name": "rows", "file": "pairs.jsonl", "kind": "pairs"}],
        "objectives": [{"kind": "info_nce"}],
        "batch": {"size": 8, "max_length": 16},
        "stopping": {"steps": 4},
        "checkpoints": {"every": 2},
        "precision": "float32",
    }
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_recipe(recipe: Path) -> None:
    parts, wrong = doctor(recipe)
    assert not wrong
    assert parts["recipe"] == [f"{recipe}: `mtext check` finds nothing wrong"]
    assert parts["steps"] == ["4"]
    assert "64 rows of rows" in parts["data"][0]


def test_a_recipe_with_a_mistake(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("steps: 4", "steps: -4"))
    (wrong,) = (line.text for line in examine(str(recipe)).lines if line.wrong)
    assert "stopping.steps: found -4" in wrong


def test_a_run_that_ended_and_was_damaged(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(recipe, out=run)
    parts, wrong = doctor(run)
    assert not wrong
    assert parts["run"][0].endswith("last step 4 of 4; ended, its model is in model/")
    assert parts["lock"] == ["held by no process"]
    assert parts["changed"] == ["nothing: this machine is as the run began"]
    assert parts["checkpoint"][0].startswith("step 4, ")
    assert "trained dims 8, 32" in parts["dims"][0]
    (run / "environment.json").write_text("[]")
    weights = run / "checkpoints" / "step-00000004" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    texts = [line.text for line in examine(str(run)).lines if line.wrong]
    assert len(texts) == 2
    assert "is damaged" in texts[0]
    assert "environment.json: cannot be read" in texts[1]


@pytest.mark.skipif(not Path("/proc/locks").is_file(), reason="the kernel's list of locks")
def test_a_run_that_works_and_is_killed(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe.write_text(recipe.read_text().replace("steps: 4", "steps: 100000"))
    program = subprocess.Popen(
        mtext("train", recipe, "--out", run), env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not any(run.glob("checkpoints/step-*")) and program.poll() is None:
            time.sleep(0.1)
        lines = {line.part: line.text for line in examine(str(run)).lines}
        assert lines["run"].endswith("; running")
        assert f"process {program.pid} (" in lines["lock"]
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()
    parts, wrong = doctor(run)
    assert not wrong
    assert parts["run"][0].endswith(f"stopped before its end; go on with: mtext train {run}/recipe.yaml --resume")
    assert parts["lock"] == ["held by no process"]
