"""The classification heads against loops in float64, and what is written and read."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from matryoshka_text.errors import ModelError
from matryoshka_text.heads.class_head import ClassHead, parameter_counts
from matryoshka_text.objectives.batch import Nesting

DIMS = (2, 3, 6)
WIDTH = 8
CLASSES = ("bank", "card", "naïve 日本", "loan")
both = pytest.mark.parametrize("kind", ["mrl", "mrl_e"])


def _head(kind: str = "mrl_e", **settings: Any) -> ClassHead:
    head = ClassHead(CLASSES, **{"width": WIDTH, "dims": DIMS, "kind": kind, "seed": 3, **settings})
    with torch.no_grad():
        for bias in head.biases:
            bias.copy_(torch.linspace(-0.5, 0.7, len(CLASSES)))
    return head


@pytest.fixture
def rows() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(5, WIDTH)), torch.tensor([0, 3, 1, 1, 2])


def _logits(head: ClassHead, row: Tensor, dim: int) -> list[Tensor]:
    part = DIMS.index(dim) if head.kind == "mrl" else 0
    matrix, bias = head.matrices[part].double(), head.biases[part].double()
    return [
        head.scale * sum(row[c] * matrix[label, c] for c in range(dim)) + bias[label] for label in range(len(CLASSES))
    ]


def _expected(head: ClassHead, rows: Tensor, target: Tensor, dim: int, denominator: int) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for row, label in zip(rows.double(), target, strict=True):
        logits = _logits(head, row, dim)
        total = total + torch.log(sum(torch.exp(x) for x in logits)) - logits[int(label)]
    return total / denominator


@both
def test_the_loss_is_its_definition(kind: str, rows: tuple[Tensor, Tensor]) -> None:
    head, (vectors, target) = _head(kind), rows
    head, vectors = head.double(), vectors.double().requires_grad_()
    weights = torch.tensor([1.0, 0.5, 4.0], dtype=torch.float64, requires_grad=True)
    loss = head.loss(vectors, target, Nesting(DIMS, weights), 9)
    each = [_expected(head, vectors, target, dim, 9) for dim in DIMS]
    total = sum(w * x for w, x in zip(weights, each, strict=True))
    torch.testing.assert_close(loss.per_dim, torch.stack(each).detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(loss.total, total, rtol=1e-9, atol=1e-12)
    assert not loss.per_dim.requires_grad
    leaves = (vectors, weights, *head.parameters())
    found, expected = torch.autograd.grad(loss.total, leaves), torch.autograd.grad(total, leaves)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)


@both
def test_the_logits_are_those_of_the_loss(kind: str, rows: tuple[Tensor, Tensor]) -> None:
    head, (vectors, target) = _head(kind), rows
    for dim in DIMS:
        logits = head.logits(vectors, dim)
        for row, found in zip(vectors.double(), logits, strict=True):
            assert found.tolist() == pytest.approx([x.item() for x in _logits(head, row, dim)], rel=1e-5)
        loss = torch.nn.functional.cross_entropy(logits, target)
        assert loss.item() == pytest.approx(head.loss(vectors, target, Nesting((dim,)), 5).per_dim.item(), rel=1e-5)


@both
def test_a_step_may_read_some_of_the_dims(kind: str, rows: tuple[Tensor, Tensor]) -> None:
    head = _head(kind)
    everything = head.loss(*rows, Nesting(DIMS), 5).per_dim
    torch.testing.assert_close(head.loss(*rows, Nesting((2, 6)), 5).per_dim, everything[[0, 2]])


def test_a_dim_without_a_matrix_is_refused(rows: tuple[Tensor, Tensor]) -> None:
    head = _head("mrl")
    for read in (lambda: head.loss(*rows, Nesting((2, 4)), 5), lambda: head.logits(rows[0], 4)):
        with pytest.raises(ValueError, match=r"dim is 4; allowed for separate heads are the trained ones, 2, 3, 6"):
            read()


@pytest.mark.parametrize("dim", [0, -1, 9, 2.0, True, "2", None])
@both
def test_what_is_no_prefix_is_refused(kind: str, rows: tuple[Tensor, Tensor], dim: Any) -> None:
    with pytest.raises(ValueError, match=r"dim is .*; allowed"):
        _head(kind).logits(rows[0], dim)


def test_one_matrix_reads_every_dim_and_nothing_beyond_the_trained_ones_at_first(
    rows: tuple[Tensor, Tensor],
) -> None:
    head = _head("mrl_e")
    assert head.logits(rows[0], 4).shape == (5, 4)
    assert not torch.equal(head.logits(rows[0], 4), head.logits(rows[0], 3))
    torch.testing.assert_close(head.logits(rows[0], 8), head.logits(rows[0], 6))
    head.loss(*rows, Nesting((2, 8)), 5).total.backward()
    assert (head.matrices[0].grad[:, 6:] != 0).any()


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_float32(kind: str, rows: tuple[Tensor, Tensor], dtype: torch.dtype) -> None:
    head, vectors = _head(kind), rows[0].to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head.loss(vectors, rows[1], Nesting(DIMS), 5)
    exact = head.loss(vectors.float(), rows[1], Nesting(DIMS), 5)
    assert loss.total.dtype == torch.float32
    assert torch.equal(loss.per_dim, exact.per_dim)
    assert torch.autograd.grad(loss.total, vectors)[0].dtype == dtype


@both
def test_no_rows_give_zero(kind: str, rows: tuple[Tensor, Tensor]) -> None:
    head = _head(kind)
    loss = head.loss(rows[0][:0], rows[1][:0], Nesting(DIMS), 5)
    assert float(loss.total.detach()) == 0
    loss.total.backward()
    assert all(p.grad is not None and (p.grad == 0).all() for p in head.parameters())


@both
@pytest.mark.parametrize("target", [[0, 3, 1, 1, 4], [0, 3, 1, 1, -1]])
def test_a_class_outside_is_refused(kind: str, rows: tuple[Tensor, Tensor], target: list[int]) -> None:
    with pytest.raises(ValueError, match=r"target spans .*; allowed are 0 to 3"):
        _head(kind).loss(rows[0], torch.tensor(target), Nesting(DIMS), 5)


@both
def test_the_seed_says_the_weights_and_the_global_generator_is_left_alone(kind: str) -> None:
    state = torch.get_rng_state()
    first, same, other = (ClassHead(CLASSES, width=8, dims=DIMS, kind=kind, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in first.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    assert not torch.equal(first.matrices[0], other.matrices[0])
    assert first.matrices[0].abs().max() <= 1 / math.sqrt(2 if kind == "mrl" else 6)
    assert all((bias == 0).all() for bias in first.biases)


def test_parameter_counts_are_those_of_the_heads() -> None:
    counts = parameter_counts(DIMS, len(CLASSES), WIDTH)
    assert counts == {"mrl_e": 4 * 8 + 4, "mrl": 4 * (2 + 3 + 6) + 3 * 4}
    for kind, count in counts.items():
        assert _head(kind).parameter_count == count
    assert parameter_counts((12, 24), 10) == {"mrl_e": 250, "mrl": 380}


@both
def test_saved_and_loaded_it_is_the_same(kind: str, rows: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    head = _head(kind, scale=7.0)
    head.save(tmp_path / "heads" / "classifier")
    assert sorted(f.name for f in (tmp_path / "heads" / "classifier").iterdir()) == ["config.json", "model.safetensors"]
    state = torch.get_rng_state()
    loaded = ClassHead.load(tmp_path / "heads" / "classifier")
    assert torch.equal(torch.get_rng_state(), state)
    assert (loaded.kind, loaded.dims, loaded.width, loaded.scale) == (kind, DIMS, WIDTH, 7.0)
    assert loaded.classes == CLASSES
    for dim in DIMS:
        assert torch.equal(loaded.logits(rows[0], dim), head.logits(rows[0], dim))


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_short(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:40])


def _of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "width": 9}))


def _no_object(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")


def _strange_key(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "colour": "red"}))


@pytest.mark.parametrize("damage", [_without_weights, _cut_short, _of_another_size, _no_object, _strange_key])
def test_a_damaged_folder_is_a_model_error(tmp_path: Path, damage: Any) -> None:
    _head().save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelError, match="no classification head can be read there"):
        ClassHead.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["one"]}, r"classes are \['one'\]; allowed are two or more names"),
        ({"classes": "ab"}, r"classes are 'ab'"),
        ({"classes": [0, 1]}, r"classes are \[0, 1\]"),
        ({"classes": ["a", "b", "a"]}, r"classes name 'a' more than once"),
        ({"kind": "mlp"}, r"kind is 'mlp'; allowed are 'mrl', 'mrl_e'"),
        ({"dims": (2, 9)}, r"dims\[1\] is 9 "),
        ({"dims": ()}, r"dims is empty"),
        ({"scale": 0.0}, r"scale is 0\.0; allowed is a finite number above 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    given = {"classes": CLASSES, "width": WIDTH, "dims": DIMS, **change}
    with pytest.raises(ValueError, match=message):
        ClassHead(given.pop("classes"), **given)


@pytest.mark.parametrize("vectors", [torch.zeros(5, 7), torch.zeros(8)])
@both
def test_vectors_of_another_width_are_refused(kind: str, vectors: Tensor) -> None:
    with pytest.raises(ValueError, match=r"rows has shape .*; allowed is \[any, 8\]"):
        _head(kind).logits(vectors, 2)
    with pytest.raises(ValueError, match=r"rows has shape .*; allowed is \[any, 8\]"):
        _head(kind).loss(vectors, torch.zeros(5, dtype=torch.int64), Nesting(DIMS), 5)
