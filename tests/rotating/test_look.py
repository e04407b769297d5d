from pathlib import Path

import numpy as np
import pytest
import torch

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import DataError
from matryoshka_text.rotating.look import few_of, look_at_texts, look_at_vectors
from matryoshka_text.rotating.texts import Reading
from matryoshka_text.rotation import neighbours_kept


def test_texts_and_their_vectors_give_the_same_answer(tiny_model: Path, sentences: list[str], tmp_path: Path) -> None:
    vectors = MatryoshkaEncoder(tiny_model, device="cpu").encode(sentences)
    np.save(tmp_path / "v.npy", vectors)
    dims = (4, 5, 16)
    of_texts = look_at_texts(tiny_model, sentences, dims)
    of_vectors = look_at_vectors([tmp_path / "v.npy"], dims)
    expected = neighbours_kept(torch.from_numpy(vectors), (*dims, 32))
    for look in (of_texts, of_vectors):
        assert look.width == 32
        (kept,) = look.kept
        assert (kept.rows, kept.asked) == (400, 400)
        # Ties among near-equal texts may fall either way.
        assert kept.before == pytest.approx(expected, abs=0.01)
    assert "before" not in str(of_texts)


def test_a_model_whose_vectors_were_cut_may_be_looked_at(
    tiny_model: Path, sentences: list[str], tmp_path: Path
) -> None:
    MatryoshkaEncoder(tiny_model, device="cpu").truncated(dim=16).save(str(tmp_path / "cut"))
    assert look_at_texts(tmp_path / "cut", sentences[:50]).width == 16


def test_too_few_rows_are_told(tiny_model: Path, sentences: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="texts: found 12 different texts; allowed: at least 20"):
        look_at_texts(tiny_model, sentences[:12])
    np.save(tmp_path / "v.npy", np.eye(8, dtype=np.float32))
    with pytest.raises(DataError, match=r"v.npy: found 8 vectors; allowed: at least 20.*; add vectors"):
        look_at_vectors([tmp_path / "v.npy"])
    np.save(tmp_path / "many.npy", np.eye(60, dtype=np.float32))
    with pytest.raises(DataError, match=r"many.npy: found 15 vectors; .*; raise --most, which is 15"):
        look_at_vectors([tmp_path / "many.npy"], reading=Reading(most=15))
    with pytest.raises(DataError, match=r"texts: found 9 different texts; .*; raise --most, which is 9"):
        look_at_texts(tiny_model, sentences, reading=Reading(most=9))
    np.save(tmp_path / "flat.npy", np.ones(50, dtype=np.float32))
    with pytest.raises(DataError, match=r"flat.npy: cannot be read as an array \(it has shape \[50\]"):
        look_at_vectors([tmp_path / "flat.npy"])


def test_a_dry_run_reads_a_few_thousand_texts() -> None:
    assert few_of(Reading(), 1).most == 4000
    assert few_of(Reading(), 13).most == 307
    assert few_of(Reading(most=50), 1).most == 50
    assert few_of(Reading(), 1000).most == 100
