"""The oldest sentence-transformers that must load a saved model, loading one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


@pytest.mark.slow
def test_the_oldest_reader_gives_the_same_vectors(tiny_model: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "old"), *OLD]
    if (done := subprocess.run(pip, capture_output=True, text=True)).returncode:
        pytest.skip(f"the package registry gives no {OLD[0]}: {done.stderr.strip().splitlines()[-1]}")
    encoder = MatryoshkaEncoder(tiny_model, dims=(8, 32), device="cpu")
    encoder.save(str(tmp_path / "model"))
    subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "old", tmp_path / "model", tmp_path / "v.npz", OLDEST_READER],
        check=True,
    )
    texts = ["the cat is sleeping", "money transfer to my bank account"]
    with np.load(tmp_path / "v.npz") as theirs:
        np.testing.assert_allclose(theirs["full"], encoder.encode(texts), atol=1e-6)
        np.testing.assert_allclose(theirs["cut"], encoder.encode(texts, dim=8), atol=1e-6)
