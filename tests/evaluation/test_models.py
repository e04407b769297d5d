"""What a model is called, and which dims it was trained for."""

import shutil
from pathlib import Path

import pytest

from matryoshka_text.errors import ModelError
from matryoshka_text.evaluation.models import open_subjects


def test_a_run_gives_its_name_to_the_model(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "runs/first run-1a2b/model")
    subject = open_subjects([str(tmp_path / "runs/first run-1a2b/model")])[0]
    assert (subject.name, subject.label) == ("local/first-run-1a2b", "first-run-1a2b")
    assert (subject.origin, subject.width, subject.dims) == ("folder", 32, None)


def test_a_run_stands_for_its_model(tiny_model: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs/first-1a2b"
    shutil.copytree(tiny_model, run / "model")
    (subject,) = open_subjects([str(run), str(run / "model")])
    assert (subject.label, subject.path) == ("first-1a2b", (run / "model").resolve())


def test_a_twin_is_called_after_its_run(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "first-1a2b/twins/ff-8/model")
    (subject,) = open_subjects([str(tmp_path / "first-1a2b/twins/ff-8")])
    assert (subject.name, subject.only) == ("local/first-1a2b-ff-8", None)


def test_models_of_one_name_get_different_labels(tiny_model: Path, other_model: Path, tmp_path: Path) -> None:
    places = [tmp_path / "a/twin", tmp_path / "b/twin"]
    shutil.copytree(tiny_model, places[0])
    shutil.copytree(other_model, places[1])
    first, second = open_subjects(list(map(str, places)))
    assert first.name == second.name == "local/twin"
    assert first.weights != second.weights
    assert (first.label, second.label) == (f"twin@{first.weights[:6]}", f"twin@{second.weights[:6]}")
    assert second.dims == (8, 16, 32)


def test_the_same_weights_count_once(tiny_model: Path) -> None:
    assert len(open_subjects([str(tiny_model), str(tiny_model)])) == 1


def test_a_default_cut_is_undone(tiny_model: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), truncate_dim=8, device="cpu")
    model.save(str(tmp_path / "cut"))
    subject = open_subjects([str(tmp_path / "cut")])[0]
    assert subject.width == 32
    assert subject.encoder("cpu").encode(["cat"]).shape == (1, 32)


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        open_subjects(["./none"])
