"""Fingerprints of local files."""

import hashlib
from pathlib import Path

import pytest

from matryoshka_text.data import fingerprint
from matryoshka_text.errors import DataError
from matryoshka_text.objectives.info_nce import InfoNCE
from matryoshka_text.recipe import Base, Evaluation, HeldOut, Recipe, RotationSection, Source, Stopping


def recipe(folder: Path) -> Recipe:
    return Recipe(
        name="r",
        base=Base(model="m"),
        dims=[2],
        data=[Source(name="one", file="one.csv", kind="pairs")],
        objectives=[InfoNCE(kind="info_nce")],
        stopping=Stopping(steps=1),
        evaluation=Evaluation(every=1, data=[HeldOut(name="one", file="sts.csv", kind="sts")]),
        folder=folder,
    )


def test_every_file_has_the_hash_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("a")
    (tmp_path / "sts.csv").write_text("b")
    found = fingerprint(recipe(tmp_path))
    assert found == {
        "data.one": f"file sha256:{hashlib.sha256(b'a').hexdigest()}",
        "evaluation.one": f"file sha256:{hashlib.sha256(b'b').hexdigest()}",
    }
    (tmp_path / "sts.csv").write_text("c")
    changed = fingerprint(recipe(tmp_path))
    assert changed["data.one"] == found["data.one"]
    assert changed["evaluation.one"] != found["evaluation.one"]


def test_a_file_that_has_gone(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"data\.one: .*one\.csv cannot be read \(No such file or directory\); put it back"
    ):
        fingerprint(recipe(tmp_path))


def test_a_file_of_vectors_is_hashed_too(tmp_path: Path) -> None:
    for name in ("one.csv", "sts.csv", "v.safetensors"):
        (tmp_path / name).write_text(name)
    plain = recipe(tmp_path)
    source = plain.data[0].model_copy(update={"vectors": "v.safetensors"})
    made = plain.model_copy(update={"data": (source,)})
    assert fingerprint(made) == {
        **fingerprint(plain),
        "vectors.one": f"file sha256:{hashlib.sha256(b'v.safetensors').hexdigest()}",
    }
    (tmp_path / "v.safetensors").unlink()
    with pytest.raises(DataError, match=r"vectors\.one: .*v\.safetensors cannot be read"):
        fingerprint(made)


def test_the_files_of_a_rotation_are_hashed_too(tmp_path: Path) -> None:
    for name in ("one.csv", "sts.csv", "t.txt"):
        (tmp_path / name).write_text(name)
    plain = recipe(tmp_path)
    # A rotation that reads the recipe's own data adds nothing.
    assert fingerprint(plain.model_copy(update={"rotation": RotationSection()})) == fingerprint(plain)
    own = RotationSection(data=[Source(name="one", file="t.txt", kind="text")])
    assert fingerprint(plain.model_copy(update={"rotation": own})) == {
        **fingerprint(plain),
        "rotation.one": f"file sha256:{hashlib.sha256(b't.txt').hexdigest()}",
    }
