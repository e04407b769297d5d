from pathlib import Path

import numpy as np
import pytest

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoding import Vectors, encode_file, open_vectors
from matryoshka_text.errors import DataError, RunError


@pytest.fixture
def opened(tiny_model: Path, lines: Path, tmp_path: Path) -> Vectors:
    return encode_file(tiny_model, lines, tmp_path / "out", dim=8, rows_per_part=50).vectors


def test_rows_are_read_by_number_slice_and_list(opened: Vectors, tiny_model: Path, texts: list[str]) -> None:
    expected = MatryoshkaEncoder(tiny_model, device="cpu").encode(texts, dim=8)
    assert (len(opened), opened.shape, opened.dtype) == (203, (203, 8), np.float32)
    whole = np.asarray(opened)
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    for key in (0, 49, 50, 202, -1, slice(None), slice(45, 155), slice(202, 3, -7), slice(5, 5), [201, 0, 50, 50], []):
        np.testing.assert_array_equal(opened[key], whole[key] if key != [] else whole[:0])
    np.testing.assert_array_equal(opened[np.asarray([3, 190])], whole[[3, 190]])
    np.testing.assert_array_equal(np.concatenate(list(opened.parts())), whole)
    assert [len(rows) for rows in opened.parts()] == [50, 50, 50, 50, 3]
    assert isinstance(next(iter(opened.parts())), np.memmap)
    np.testing.assert_array_equal(opened.floats(7), whole[7])
    for wrong in (203, -204, [0, 203]):
        with pytest.raises(IndexError, match="allowed: -203 to 202"):
            opened[wrong]
    with pytest.raises(TypeError, match="allowed: a whole number"):
        opened[[0.5]]


def test_one_file_of_all_rows(opened: Vectors, tmp_path: Path) -> None:
    path = opened.join(tmp_path / "deep" / "all.npy")
    np.testing.assert_array_equal(np.load(path), opened[:])
    assert [p.name for p in path.parent.iterdir()] == ["all.npy"]


def test_parts_that_are_missing_are_an_error_when_opened(opened: Vectors) -> None:
    (opened.folder / "part-00001.npy").unlink()
    with pytest.raises(DataError, match=r"1 of 5 parts are missing or damaged \(part-00001\.npy\); run the same"):
        open_vectors(opened.folder)


def test_what_is_no_folder_of_vectors(tmp_path: Path) -> None:
    for content in (None, "{}", "no json"):
        if content is not None:
            (tmp_path / "encoding.json").write_text(content)
        with pytest.raises(RunError, match=r"encoding\.json: cannot be read as the record of `mtext encode`"):
            open_vectors(tmp_path)
