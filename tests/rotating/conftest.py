import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from matryoshka_text.rotation import FitSettings

SUBJECTS = "cat dog man woman father mother child animal boy people".split()
VERBS = "play sleep walk read write eat move turn work stand".split()
PLACES = "house street water light city land school world picture home".split()
QUICK = ("--steps", "12", "--anchors", "16")


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """400 different texts of 7 to 11 words."""
    return [
        f"the {s} will {v} in the {p}" + " and then some more" * (i % 2)
        for i, (s, v, p) in enumerate((s, v, p) for s in SUBJECTS for v in VERBS for p in PLACES[:4])
    ]


@pytest.fixture
def settings() -> FitSettings:
    return FitSettings(steps=12, anchors=16, warmup=2, check_every=6)


@pytest.fixture
def lines(tmp_path: Path, sentences: list[str]) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{text}\n" for text in sentences))
    return path


@pytest.fixture
def rows(tmp_path: Path, sentences: list[str]) -> Path:
    """Questions and answers in two columns."""
    path = tmp_path / "rows.jsonl"
    pairs = [{"id": i, "question": f"can {t}", "answer": f"no {t}"} for i, t in enumerate(sentences[:100])]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


@pytest.fixture
def command(tiny_model: Path) -> Callable[..., tuple[list[str], dict[str, str]]]:
    """command("--texts", …): the words and environment that start `mtext rotate` on the tiny model, quickly."""

    def make(*words: object) -> tuple[list[str], dict[str, str]]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        start = [sys.executable, "-m", "matryoshka_text", "rotate", str(tiny_model)]
        return [*start, *map(str, words)], environment

    return make
