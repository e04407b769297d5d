"""Which rotation it is: digests, widths and files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from matryoshka_text.errors import DataError, ModelError
from matryoshka_text.evaluation.rotations import Fit, given_rotation
from matryoshka_text.rotation import FitSettings, Rotation


def test_fits_differ_by_dims_and_by_every_setting() -> None:
    fit = Fit((4, 8), FitSettings())
    others = [Fit((4, 9), FitSettings()), replace(fit, settings=FitSettings(seed=1))]
    others += [replace(fit, settings=FitSettings(steps=5)), replace(fit, settings=FitSettings(temperature=0.1))]
    assert len({one.digest for one in (fit, *others)}) == 5
    assert fit.digest == Fit((4, 8), FitSettings()).digest
    assert fit.fewest == 6


def test_a_given_one_is_known_by_its_matrix(tmp_path: Path) -> None:
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    Rotation(matrix, (2,)).save(tmp_path / "R.safetensors")
    from_file, from_object = given_rotation(tmp_path / "R.safetensors"), given_rotation(Rotation(matrix, (3,)))
    assert (from_file.name, from_object.name) == ("R.safetensors", "rotation")
    assert from_file.digest == from_object.digest != given_rotation(Rotation(np.eye(4), ())).digest
    from_file.require_width(4, "m")
    with pytest.raises(
        ModelError, match=r"--rotation: R\.safetensors turns vectors of width 4, but m .* of width 8; give"
    ):
        from_file.require_width(8, "m")


def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "R.safetensors").write_text("no")
    with pytest.raises(DataError, match="cannot be read as a rotation"):
        given_rotation(tmp_path / "R.safetensors")
