"""A teacher's vectors from a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from matryoshka_text.data.vectors import read_vectors
from matryoshka_text.errors import DataError

NAMES = ("anchor", "positive")


def good(rows: int = 3, width: int = 2, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    numbers = torch.arange(1, rows * width + 1).reshape(rows, width).to(dtype)
    return {"positive": numbers / 8, "anchor": -numbers / 4}


def told(path: Path, **tensors: torch.Tensor) -> str:
    save_file(tensors, path)
    with pytest.raises(DataError) as error:
        read_vectors(path, NAMES, rows=3, key="data[0].vectors")
    return str(error.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_columns_in_order_and_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file(good(dtype=dtype), tmp_path / "v.safetensors")
    found = read_vectors(tmp_path / "v.safetensors", NAMES, rows=3, key="k")
    assert [array.dtype for array in found] == [np.float32, np.float32]
    np.testing.assert_array_equal(found[0], -np.arange(1, 7).reshape(3, 2) / 4)
    np.testing.assert_array_equal(found[1], np.arange(1, 7).reshape(3, 2) / 8)


def test_rows_of_bytes_keep_their_directions(tmp_path: Path) -> None:
    numbers = torch.tensor([[3.0, -4.0, 0.0], [0.1, 0.02, -0.05]])
    largest = numbers.abs().amax(1, keepdim=True)
    save_file({name: (127 * numbers / largest).round().to(torch.int8) for name in NAMES}, tmp_path / "v.safetensors")
    found, _ = read_vectors(tmp_path / "v.safetensors", NAMES, rows=2, key="k")
    assert found.dtype == np.float32
    cosines = torch.nn.functional.cosine_similarity(torch.from_numpy(found), numbers)
    assert cosines.min() > 0.9999


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"more": torch.ones(3, 2)},
            "v.safetensors: found the tensors anchor, more, positive; allowed: anchor, positive, one for each column "
            "of texts; rename, add or leave out tensors",
        ),
        (
            {"anchor": torch.ones(4, 2)},
            "v.safetensors: tensor 'anchor': found shape [4, 2]; allowed: [3, width], a row for each of the 3 examples "
            "in their file's order, before a sample is drawn; compute the vectors of this data again",
        ),
        ({"anchor": torch.ones(3)}, "tensor 'anchor': found shape [3]; allowed: [3, width]"),
        (
            {"positive": torch.ones(3, 5)},
            "v.safetensors: tensor 'positive': found vectors of width 5; allowed: 2, as of the first tensor; "
            "use one teacher for all",
        ),
        (
            {"positive": torch.ones(3, 2, dtype=torch.int64)},
            "v.safetensors: tensor 'positive': found numbers of type I64; allowed: F32, F16, BF16, I8; save it as "
            "float32",
        ),
        (
            {"positive": torch.tensor([[1.0, 2.0], [3.0, torch.nan], [0.0, 0.0]])},
            "v.safetensors: tensor 'positive', row 1 (from 0): found numbers that are not finite; "
            "allowed: a finite vector with a direction; compute it again",
        ),
        (
            {"anchor": torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])},
            "v.safetensors: tensor 'anchor', row 2 (from 0): found all zeros; "
            "allowed: a finite vector with a direction; compute it again",
        ),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    assert expected in told(tmp_path / "v.safetensors", **{**good(), **change})


def test_files_that_are_none(tmp_path: Path) -> None:
    assert "found the tensors anchor; allowed: anchor, positive" in told(
        tmp_path / "a.safetensors", anchor=torch.ones(3, 2)
    )
    with pytest.raises(DataError) as error:
        read_vectors(tmp_path / "none.safetensors", NAMES, rows=3, key="data[0].vectors")
    assert str(error.value) == (
        f"data[0].vectors: found no file {tmp_path}/none.safetensors; allowed: an existing .safetensors file (relative "
        "to the recipe's folder); write the teacher's vectors there, or remove the key"
    )
    (tmp_path / "v.safetensors").write_bytes(b"garbage!!!!")
    with pytest.raises(
        DataError, match=r"v\.safetensors: is no safetensors file \(.*\); allowed: a whole file; write it"
    ):
        read_vectors(tmp_path / "v.safetensors", NAMES, rows=3, key="k")
