"""The oldest sentence-transformers that must load a saved model, loading one; heads beside the model."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.layout import OLDEST_READER

# The release, and libraries of its time; the rest (torch, numpy, scipy) is this environment's own.
OLD = [
    f"sentence-transformers=={OLDEST_READER}",
    "transformers==4.49.0",
    "tokenizers==0.21.4",
    "huggingface-hub==0.30.0",
]
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
sys.modules["datasets"] = None  # today's datasets needs today's huggingface_hub
import numpy, sentence_transformers
assert sentence_transformers.__version__ == sys.argv[4], sentence_transformers.__version__
texts = ["the cat is sleeping", "money transfer to my bank account"]
full = sentence_transformers.SentenceTransformer(sys.argv[2], device="cpu")
cut = sentence_transformers.SentenceTransformer(sys.argv[2], device="cpu", truncate_dim=8)
assert full.max_seq_length == 64, full.max_seq_length
numpy.savez(sys.argv[3], full=full.encode(texts), cut=cut.encode(texts, normalize_embeddings=True))
"""


@pytest.fixture(scope="module")
def old_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to put in front of sys.path."""
    folder = tmp_path_factory.mktemp("old")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *OLD]
    if (done := subprocess.run(pip, capture_output=True, text=True)).returncode:
        pytest.skip(f"the package registry gives no {OLD[0]}: {done.stderr.strip().splitlines()[-1]}")
    return folder


TEXTS = ["the cat is sleeping", "money transfer to my bank account"]


def _read(model: Path, old_reader: Path, path: Path) -> dict[str, np.ndarray]:
    subprocess.run([sys.executable, "-c", SCRIPT, old_reader, model, path, OLDEST_READER], check=True)
    with np.load(path) as theirs:
        return dict(theirs)


@pytest.mark.slow
def test_the_oldest_reader_gives_the_same_vectors(tiny_model: Path, old_reader: Path, tmp_path: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, dims=(8, 32), device="cpu")
    encoder.save(str(tmp_path / "model"))
    theirs = _read(tmp_path / "model", old_reader, tmp_path / "v.npz")
    np.testing.assert_allclose(theirs["full"], encoder.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(theirs["cut"], encoder.encode(TEXTS, dim=8), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dense", [False, True])
def test_the_oldest_reader_reads_a_smaller_model_too(
    tiny_model: Path, old_reader: Path, tmp_path: Path, dense: bool
) -> None:
    encoder = MatryoshkaEncoder(tiny_model, dims=(8, 32), device="cpu")
    if dense:
        encoder = MatryoshkaEncoder(modules=[encoder[0], encoder[1], Dense(32, 24)], dims=(8, 24), device="cpu")
    encoder.truncated(dim=16, layers=1).save(str(tmp_path / "model"))
    theirs = _read(tmp_path / "model", old_reader, tmp_path / "v.npz")
    np.testing.assert_allclose(theirs["full"], encoder.encode(TEXTS, dim=16, layers=1), atol=1e-6)
    np.testing.assert_allclose(theirs["cut"], encoder.encode(TEXTS, dim=8, layers=1), atol=1e-6)


def test_a_dense_has_only_the_words_that_the_oldest_reader_knows(tiny_model: Path, tmp_path: Path) -> None:
    plain = MatryoshkaEncoder(tiny_model, device="cpu")
    for name, dense, words in (("usual", Dense(32, 24), 4), ("residual", Dense(32, 24, use_residual=True), 7)):
        MatryoshkaEncoder(modules=[plain[0], plain[1], dense], device="cpu").save(str(tmp_path / name))
        home = tmp_path / name / "2_Dense"
        assert len(json.loads((home / "config.json").read_text())) == words
        assert (home / "model.safetensors").exists()
        assert not list(tmp_path.rglob("*.bin"))  # no pickle, not even for the first releases


class _Head:
    def __init__(self, word: str) -> None:
        self.word = word

    def save(self, folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps({"word": self.word}))
        (folder / "model.safetensors").write_bytes(b"weights")


def _words(folder: Path) -> dict[str, str]:
    return {p.parent.name: json.loads(p.read_text())["word"] for p in folder.glob("heads/*/config.json")}


def test_heads_are_saved_with_the_model_and_not_lost_by_saving_it_again(tiny_model: Path, tmp_path: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    assert encoder.heads == {}
    encoder.heads = {"mlm": _Head("a"), "classes": _Head("b")}
    for _ in range(2):  # into an old folder as into a new one
        encoder.save(str(tmp_path / "one"))
        assert _words(tmp_path / "one") == {"mlm": "a", "classes": "b"}
    assert all(p.stat().st_mode & 0o044 == 0o044 for p in (tmp_path / "one" / "heads").rglob("*"))
    opened = MatryoshkaEncoder(tmp_path / "one", device="cpu")
    assert opened.heads == {}
    for folder in ("two", "one"):
        opened.save(str(tmp_path / folder))
        assert _words(tmp_path / folder) == {"mlm": "a", "classes": "b"}
    assert (tmp_path / "two" / "heads" / "mlm" / "model.safetensors").read_bytes() == b"weights"
    opened.heads["mlm"] = _Head("c")
    opened.save(str(tmp_path / "three"))
    assert _words(tmp_path / "three") == {"mlm": "c"}
    np.testing.assert_array_equal(SentenceTransformer(str(tmp_path / "two")).encode(TEXTS), encoder.encode(TEXTS))


def test_a_head_that_cannot_be_saved_leaves_no_folder(tiny_model: Path, tmp_path: Path) -> None:
    class Full(_Head):
        def save(self, folder: Path) -> None:
            raise OSError("no space left")

    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    encoder.heads["mlm"] = Full("a")
    with pytest.raises(OSError, match="no space left"):
        encoder.save(str(tmp_path / "model"))
    assert not any(tmp_path.iterdir())
