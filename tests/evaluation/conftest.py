"""Small data in the layouts of the real ones, and a second model."""

import gzip
import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from tests.builders import twin_of

WORDS = "cat dog bank card money street guitar red blue woman man playing running sleeping house picture water".split()


def sentence(rng: random.Random, length: int = 6) -> str:
    return " ".join(rng.choices(WORDS, k=length))


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write_data(root: Path, seed: int = 0) -> Path:
    """A data root with STSBenchmark, Banking77 and one BEIR folder of a few dozen texts each."""
    rng = random.Random(seed)
    for split in ("validation", "test"):
        rows = [{"sentence1": sentence(rng), "sentence2": sentence(rng), "score": rng.random() * 5} for _ in range(30)]
        write_lines(root / "mteb/mteb__stsbenchmark-sts" / f"{split}.jsonl.gz", rows)
    for split in ("train", "test"):
        rows = [
            {"text": f"{WORDS[label]} {sentence(rng, 3)}", "label": label, "label_text": WORDS[label]}
            for label in range(4)
            for _ in range(12)
        ]
        write_lines(root / "mteb/mteb__banking77" / f"{split}.jsonl", rows)
    beir = root / "extra/pets"
    write_lines(
        beir / "corpus.jsonl.gz",
        [{"_id": f"d{n}", "title": f"title {n}" if n % 2 else "", "text": sentence(rng, 12)} for n in range(25)],
    )
    write_lines(beir / "queries.jsonl", [{"_id": f"q{n}", "text": sentence(rng)} for n in range(10)])
    (beir / "qrels").mkdir()
    judged = "".join(f"q{n}\td{2 * n}\t1\n" for n in range(8))
    (beir / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return root


@pytest.fixture
def small_data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


@pytest.fixture(scope="session")
def make_data() -> Callable[..., Path]:
    return write_data


@pytest.fixture(autouse=True)
def no_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MTEXT_DATA_ROOT", raising=False)
    monkeypatch.delenv("MTEXT_VECTOR_STORE", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every text that goes through a model's `encode`, in order."""
    from matryoshka_text.encoder import MatryoshkaEncoder

    seen: list[str] = []
    original = MatryoshkaEncoder.encode

    def counting(self: MatryoshkaEncoder, inputs: list[str], *args: object, **kwargs: object) -> object:
        seen.extend(inputs)
        return original(self, inputs, *args, **kwargs)

    monkeypatch.setattr(MatryoshkaEncoder, "encode", counting)
    yield seen


class FakeMaskedLM:
    """Scores that grow with the dim, of a vocabulary matrix `width` wide; what it was asked for is kept in `calls`."""

    def __init__(self, width: int, tokens: int, loss: float) -> None:
        self.encoder, self.head = None, SimpleNamespace(width=width)
        self.tokens, self.loss = tokens, loss
        self.calls: list[dict[str, object]] = []

    def scores(
        self, texts: Sequence[str], dims: Sequence[int], *, on_progress: Callable[[int, int], None], **rest: object
    ) -> SimpleNamespace:
        self.calls.append({"texts": list(texts), "dims": list(dims), **rest})
        on_progress(len(texts), len(texts))
        loss = [self.loss - dim / 32 for dim in dims]
        perplexity = [2.0**x for x in loss]
        return SimpleNamespace(
            dims=tuple(dims),
            accuracy=[float(dim) for dim in dims],
            loss=loss,
            perplexity=perplexity,
            tokens=self.tokens,
        )


@pytest.fixture
def fake_masked_lm(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, FakeMaskedLM]]:
    """fake_masked_lm(width=16) makes every opened masked-language model a fake; gives those opened, by label.

    `tokens`: how many masked tokens the first, the second, … model counts.
    """
    from matryoshka_text.evaluation.scoring import masked

    def install(width: int = 32, tokens: Sequence[int] = (1500,), loss: float = 4.0) -> dict[str, FakeMaskedLM]:
        opened: dict[str, FakeMaskedLM] = {}

        def opening(subject: Any, device: str | None) -> FakeMaskedLM:
            fake = FakeMaskedLM(width, tokens[len(opened) % len(tokens)], loss)
            return opened.setdefault(subject.label, fake)

        monkeypatch.setattr(masked, "open_masked_lm", opening)
        return opened

    return install


@pytest.fixture
def small_text(tmp_path: Path) -> Path:
    """A data root with one text file of 40 lines."""
    rng = random.Random(3)
    lines = [sentence(rng, 12) for _ in range(40)]
    root = tmp_path / "texts"
    root.mkdir()
    (root / "words.txt.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n\n").encode(), mtime=0))
    return root


@pytest.fixture
def run_with_twins(tmp_path: Path) -> Callable[..., Path]:
    """run_with_twins(model): <run>/model, and below <run>/twins plain, ff-8 and ff-16, each with other weights."""

    def make(model: Path, names: Sequence[str] = ("plain", "ff-8", "ff-16")) -> Path:
        run = tmp_path / "first-1a2b"
        shutil.copytree(model, run / "model")
        for seed, name in enumerate(names, start=1):
            twin_of(model, run / "twins" / name / "model", seed)
        return run

    return make
