import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = "the cat is sleeping on my bank account and a woman plays guitar in the street near red water".split()


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """203 different texts of 1 to 23 words."""
    return [" ".join([f"{i}", *(WORDS[(7 * i + j) % len(WORDS)] for j in range((5 * i) % 23))]) for i in range(203)]


@pytest.fixture
def lines(tmp_path: Path, texts: list[str]) -> Path:
    """The texts, one a line."""
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


@pytest.fixture
def jsonl(tmp_path: Path, texts: list[str]) -> Path:
    """The texts in the column `body`."""
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"id": i, "body": text}) + "\n" for i, text in enumerate(texts)))
    return path


@pytest.fixture
def command(tiny_model: Path) -> Callable[..., tuple[list[str], dict[str, str]]]:
    """command(2, "texts.txt", "--out", …): the words and environment that start `mtext encode` in two processes."""

    def make(processes: int, *words: str) -> tuple[list[str], dict[str, str]]:
        launcher = [sys.executable]
        if processes > 1:
            launcher += ["-m", "accelerate.commands.launch", "--num_processes", str(processes), "--num_machines", "1"]
            # --multi_gpu means torch's elastic launcher; without a GPU in sight the processes talk through gloo.
            launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "--multi_gpu"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
        return [*launcher, "-m", "matryoshka_text", "encode", str(tiny_model), *words], environment

    return make
