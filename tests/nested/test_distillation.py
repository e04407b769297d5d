import pytest
import torch

from matryoshka_text.nested import NestedLoss, nested_distillation

BACKENDS = ("reference", "chunked")
pytestmark = pytest.mark.usefixtures("small_tiles")
both = pytest.mark.parametrize("backend", BACKENDS)


def case(b=5, n=7, d=6, width=9, dtype=torch.float64):
    make = torch.Generator().manual_seed(0)
    shapes = ((b, d), (n, d), (b, width), (n, width))
    rows, columns, teacher_rows, teacher_columns = (
        torch.randn(shape, generator=make, dtype=torch.float64).to(dtype) for shape in shapes
    )
    return rows.requires_grad_(), columns.requires_grad_(), teacher_rows, teacher_columns


@both
@pytest.mark.parametrize("with_self", [True, False])
@pytest.mark.parametrize("dims", [(2, 3, 6), (1, 2, 3, 4, 5, 6), (6,), (4,)])
def test_equals_the_loop_written_definition(oracle, agree, backend, with_self, dims):
    vectors = case()
    settings = {"temperature": 0.2, "self_index": torch.tensor([0, 3, 3, 6, 1]) if with_self else None}
    loss = nested_distillation(*vectors, dims, **settings, backend=backend)
    assert isinstance(loss, NestedLoss)
    assert not loss.per_dim.requires_grad
    agree(loss, oracle.distillation(*vectors, dims, **settings), vectors[:2])


@both
def test_learned_weights_and_temperature(oracle, agree, backend):
    vectors = case()
    weights = torch.tensor([0.5, 3.0], dtype=torch.float64, requires_grad=True)
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    settings = {"weights": weights, "temperature": temperature, "teacher_temperature": 0.1}
    loss = nested_distillation(*vectors, (2, 6), **settings, backend=backend)
    agree(loss, oracle.distillation(*vectors, (2, 6), **settings), (*vectors[:2], weights, temperature))
    shared = nested_distillation(*vectors, (2, 6), temperature=temperature, backend=backend)
    agree(shared, oracle.distillation(*vectors, (2, 6), temperature=temperature), (*vectors[:2], temperature))


def test_gradcheck():
    rows, columns, teacher_rows, teacher_columns = case(4, 5, 4)
    own = torch.tensor([0, 1, 2, 4])

    def total(rows, columns, temperature):
        return nested_distillation(
            rows,
            columns,
            teacher_rows,
            teacher_columns,
            (1, 2, 4),
            temperature=temperature,
            teacher_temperature=0.2,
            self_index=own,
        ).total

    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(total, (rows, columns, temperature))


@both
def test_texts_against_themselves(oracle, agree, backend):
    """The way the objective uses it: rows and columns are one tensor, each row's own column taken out."""
    texts, _, teacher, _ = case(b=7)
    own = torch.arange(7)
    loss = nested_distillation(texts, texts, teacher, teacher, (2, 6), self_index=own, backend=backend)
    agree(loss, oracle.distillation(texts, texts, teacher, teacher, (2, 6), self_index=own), (texts,))


@both
def test_the_teacher_itself_has_no_loss_and_no_gradient(backend):
    texts, _, _, _ = case(b=6, d=8, dtype=torch.float32)
    loss = nested_distillation(texts, texts, texts, texts, (8,), self_index=torch.arange(6), backend=backend)
    assert loss.total.abs() < 1e-6
    (gradient,) = torch.autograd.grad(loss.total, texts)
    assert gradient.abs().max() < 1e-5


@both
def test_no_gradient_reaches_the_teacher(backend):
    rows, columns, teacher_rows, teacher_columns = case()
    teacher_rows.requires_grad_()
    teacher_columns.requires_grad_()
    loss = nested_distillation(rows, columns, teacher_rows, teacher_columns, (2, 6), backend=backend)
    found = torch.autograd.grad(loss.total, (rows, teacher_rows, teacher_columns), allow_unused=True)
    assert found[0] is not None
    assert found[1:] == (None, None)


@both
def test_the_gradient_is_orthogonal_at_every_dim(backend):
    vectors = case()
    for dim in (1, 3, 6):
        total = nested_distillation(*vectors, (dim,), backend=backend).total
        for one, gradient in zip(vectors[:2], torch.autograd.grad(total, vectors[:2]), strict=True):
            along = (one[:, :dim] * gradient[:, :dim]).sum(1)
            torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)


@both
def test_rows_of_zeros_and_low_temperature(oracle, agree, backend):
    vectors = case(dtype=torch.float32)
    with torch.no_grad():
        vectors[0][1], vectors[1][2], vectors[2][0] = 0.0, 0.0, 0.0
    loss = nested_distillation(*vectors, (2, 6), temperature=0.01, backend=backend)
    agree(loss, oracle.distillation(*vectors, (2, 6), temperature=0.01), vectors[:2], rtol=2e-4, atol=1e-4)
    assert (torch.autograd.grad(nested_distillation(*vectors, (2, 6)).total, vectors[0])[0][1] == 0).all()


@both
def test_no_rows_give_zero(backend):
    vectors = case(b=0)
    loss = nested_distillation(*vectors, (2, 6), self_index=torch.zeros(0, dtype=torch.int64), backend=backend)
    assert loss.total == 0
    assert (loss.per_dim == 0).all()
    assert (torch.autograd.grad(loss.total, vectors[1])[0] == 0).all()


@both
def test_halves_with_the_global_count_sum_to_the_whole(backend):
    rows, columns, teacher_rows, teacher_columns = case(b=7)
    own = torch.arange(7)
    whole = nested_distillation(
        rows, columns, teacher_rows, teacher_columns, (2, 6), self_index=own, weights=(1, 3), backend=backend
    )
    parts = [
        nested_distillation(
            rows[part],
            columns,
            teacher_rows[part],
            teacher_columns,
            (2, 6),
            self_index=own[part],
            weights=(1, 3),
            denominator=7,
            backend=backend,
        )
        for part in (slice(0, 3), slice(3, 7))
    ]
    torch.testing.assert_close(sum(p.per_dim for p in parts), whole.per_dim)
    torch.testing.assert_close(
        torch.autograd.grad(sum(p.total for p in parts), (rows, columns)),
        torch.autograd.grad(whole.total, (rows, columns)),
        rtol=1e-10,
        atol=1e-12,
    )


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_float32(backend, dtype):
    vectors = case(dtype=dtype)
    loss = nested_distillation(*vectors, (2, 6), backend=backend)
    raised = nested_distillation(*(v.float() for v in vectors), (2, 6), backend=backend)
    assert loss.total.dtype == torch.float32
    assert torch.equal(loss.total, raised.total)
    assert torch.autograd.grad(loss.total, vectors[0])[0].dtype == dtype


@both
def test_autocast_does_not_reach_inside(backend):
    vectors = case(16, 24, 32, dtype=torch.float32)
    outside = nested_distillation(*vectors, (8, 32), backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = nested_distillation(*vectors, (8, 32), backend=backend)
    assert torch.equal(inside.total, outside.total)


def test_backends_agree_over_many_rows(monkeypatch):
    monkeypatch.setattr("matryoshka_text.nested.chunked.tile_rows", lambda columns, device: 50)
    vectors = case(203, 307, 96, 64, dtype=torch.float32)
    found = []
    for backend in BACKENDS:
        loss = nested_distillation(*vectors, (12, 24, 48, 96), self_index=torch.arange(203), backend=backend)
        found.append((loss.per_dim, *torch.autograd.grad(loss.total, vectors[:2])))
    for reference, chunked in zip(*found, strict=True):
        assert (chunked - reference).norm() <= 5e-6 * reference.norm()


def test_chunked_keeps_no_matrix_of_rows_by_columns(saved_entries):
    vectors = case(32, 32, 2)
    kept = {
        backend: saved_entries(lambda backend=backend: nested_distillation(*vectors, (1, 2), backend=backend).total)
        for backend in BACKENDS
    }
    assert max(kept["chunked"]) <= 32 * 2
    assert max(kept["reference"]) >= 32 * 32


def test_nothing_is_formed_under_no_grad(watch):
    vectors = case(b=3)
    with torch.no_grad(), watch() as seen:
        loss = nested_distillation(*vectors, (1, 2, 6), backend="chunked")
    assert seen.products == 3 + 1  # one a dim, one for the teacher
    assert not loss.total.requires_grad


def test_differentiating_twice_is_refused():
    vectors = case()
    total = nested_distillation(*vectors, (2, 6), backend="chunked").total
    with pytest.raises(RuntimeError, match=r"can be differentiated once.*backend='reference'"):
        torch.autograd.grad(total, vectors[0], create_graph=True)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": (2, 7)}, r"dims\[1\] is 7 .*1 to 6"),
        ({"student_columns": torch.zeros(7, 5)}, r"student_columns has shape \[7, 5\]; allowed is \[any, 6\]"),
        ({"teacher_rows": torch.zeros(4, 9)}, r"teacher_rows has shape \[4, 9\]; allowed is \[5, any\]"),
        ({"teacher_columns": torch.zeros(7, 8)}, r"teacher_columns has shape \[7, 8\]; allowed is \[7, 9\]"),
        ({"temperature": 0.0}, r"temperature is 0\.0; allowed is a finite number above 0"),
        ({"teacher_temperature": -1.0}, r"teacher_temperature is -1\.0"),
        ({"self_index": torch.tensor([0, 1, 2, 3, 7])}, r"self_index spans 0 to 7; allowed are 0 to 6"),
        ({"weights": (1.0,)}, r"weights has shape \[1\]"),
        ({"backend": "fused"}, r"backend is 'fused'; allowed are 'auto', 'reference', 'chunked'"),
        (
            {
                "student_columns": torch.zeros(1, 6),
                "teacher_columns": torch.zeros(1, 9),
                "self_index": torch.zeros(5, dtype=torch.int64),
            },
            r"student_columns holds 1 columns; a distribution over the others needs at least one",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(change, message):
    names = ("student_rows", "student_columns", "teacher_rows", "teacher_columns")
    given = {**dict(zip(names, case(dtype=torch.float32), strict=True)), "dims": (2, 6), **change}
    with pytest.raises(ValueError, match=message):
        nested_distillation(**given)
