"""The classifier's predictions against the encoder's own vectors and the head's own weights."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import ModelError
from matryoshka_text.heads.class_head import ClassHead
from matryoshka_text.heads.classifier import MatryoshkaClassifier
from matryoshka_text.objectives.batch import Nesting

TEXTS = ["the cat is sleeping", "a payment with the card", "playing guitar in the street", "money from the bank"]
LABELS = ["animal", "money", "music", "money"]
CLASSES = ("animal", "money", "music")
DIMS = (4, 8, 16)


@pytest.fixture(params=["mrl", "mrl_e"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path, kind: str) -> Path:
    """A model folder with a head of random weights, large enough that the classes differ."""
    shutil.copytree(tiny_model, tmp_path / "model")
    head = ClassHead(CLASSES, width=32, dims=DIMS, kind=kind, scale=20.0)  # type: ignore[arg-type]
    head.save(tmp_path / "model" / "heads" / "classifier")
    return tmp_path / "model"


def _shares(folder: Path, dim: int) -> np.ndarray:
    """softmax(20 * prefix @ W.T + b) in float64, from the saved weights."""
    head = ClassHead.load(folder / "heads" / "classifier")
    part = DIMS.index(dim) if head.kind == "mrl" else 0
    vectors = MatryoshkaEncoder(folder, device="cpu").encode(TEXTS).astype(np.float64)
    matrix, bias = (p[part].detach().numpy().astype(np.float64) for p in (head.matrices, head.biases))
    raised = np.exp(20 * vectors[:, :dim] @ matrix[:, :dim].T + bias)
    return raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize("dim", [4, 8, 16, None])
def test_probabilities_are_those_of_raw_prefixes(folder: Path, dim: int | None) -> None:
    classifier = MatryoshkaClassifier(folder, device="cpu")
    assert (classifier.classes, classifier.dims) == (CLASSES, DIMS)
    shares = classifier.predict_proba(TEXTS, dim=dim)
    assert (shares.dtype, shares.shape) == (np.float32, (4, 3))
    expected = _shares(folder, dim or 16)
    np.testing.assert_allclose(shares, expected, atol=1e-5)
    assert classifier.predict(TEXTS, dim=dim) == [CLASSES[i] for i in expected.argmax(1)]


def test_one_text_gives_one_label_and_no_text_none(folder: Path) -> None:
    classifier = MatryoshkaClassifier(str(folder), device="cpu")
    assert classifier.predict(TEXTS[0], dim=8) == classifier.predict(TEXTS, dim=8)[0]
    np.testing.assert_allclose(classifier.predict_proba(TEXTS[0], 8), classifier.predict_proba(TEXTS, 8)[0], atol=1e-6)
    assert classifier.predict_proba(TEXTS[0]).shape == (3,)
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, 3)
    assert classifier.predict(np.array(TEXTS), batch_size=2) == classifier.predict(TEXTS)


def test_accuracy_is_in_points_at_each_dim(folder: Path) -> None:
    classifier = MatryoshkaClassifier(folder, device="cpu")
    found = classifier.accuracy(TEXTS, LABELS, [4, 16])
    for dim, points in zip((4, 16), found, strict=True):
        predicted = [CLASSES[i] for i in _shares(folder, dim).argmax(1)]
        assert points == pytest.approx(100 * sum(p == t for p, t in zip(predicted, LABELS, strict=True)) / 4)
    assert all(isinstance(points, float) for points in found)
    assert len(classifier.accuracy(TEXTS, LABELS)) == 3
    predicted = classifier.predict(TEXTS, dim=8)
    assert classifier.accuracy(TEXTS, predicted, [8]) == [100.0]


def test_what_is_trained_is_what_predicts(folder: Path) -> None:
    """The head's loss over the vectors that the model's forward gives, and the probability of the prediction."""
    classifier = MatryoshkaClassifier(folder, device="cpu")
    features = classifier.encoder.tokenize(TEXTS)
    with torch.no_grad():
        vectors = classifier.encoder(features)["sentence_embedding"]
        target = torch.tensor([CLASSES.index(label) for label in LABELS])
        loss = classifier.head.loss(vectors, target, Nesting(DIMS), 4).per_dim
    for dim, value in zip(DIMS, loss.tolist(), strict=True):
        own = classifier.predict_proba(TEXTS, dim)[range(4), target.tolist()]
        assert value == pytest.approx(float(-np.log(own).mean()), rel=1e-4)


@pytest.mark.parametrize("dim", [0, 33, True, "8", 2.5])
def test_a_dim_that_is_none_is_refused(folder: Path, dim: Any) -> None:
    classifier = MatryoshkaClassifier(folder, device="cpu")
    for read in (lambda: classifier.predict(TEXTS, dim=dim), lambda: classifier.accuracy(TEXTS, LABELS, [dim])):
        with pytest.raises(ValueError, match=r"dim is .*; allowed"):
            read()


def test_untrained_dims_are_for_one_matrix_alone(folder: Path, kind: str) -> None:
    classifier = MatryoshkaClassifier(folder, device="cpu")
    if kind == "mrl_e":
        assert len(classifier.predict(TEXTS, dim=np.int64(5))) == 4
        np.testing.assert_allclose(classifier.predict_proba(TEXTS, 32), classifier.predict_proba(TEXTS), atol=1e-6)
    else:
        with pytest.raises(ValueError, match="trained ones, 4, 8, 16"):
            classifier.predict(TEXTS, dim=5)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (TEXTS, ["animal", "sport", "money", "art"], r"hold 2 that are no classes of this head: 'art', 'sport'; .*3"),
        (TEXTS, LABELS[:3], r"4 texts and 3 labels"),
        ([], [], r"0 texts and 0 labels"),
        ("abcd", LABELS, r"allowed is a list of at least one text"),
    ],
)
def test_labels_that_do_not_fit_are_refused(folder: Path, texts: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MatryoshkaClassifier(folder, device="cpu").accuracy(texts, labels, [4])


def test_a_model_without_a_head_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match=r"no classification head, heads/classifier .* trained with .*'classify'"):
        MatryoshkaClassifier(tiny_model, device="cpu")


def test_a_head_of_another_width_is_refused(folder: Path) -> None:
    ClassHead(CLASSES, width=16, dims=DIMS).save(folder / "heads" / "classifier")
    with pytest.raises(ModelError, match=r"reads vectors of width 16, and the model's have width 32"):
        MatryoshkaClassifier(folder, device="cpu")
