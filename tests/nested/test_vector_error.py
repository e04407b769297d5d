import pytest
import torch

from matryoshka_text.nested import NestedLoss, nested_vector_error


def case(n=5, d=6, e=6, dtype=torch.float64):
    make = torch.Generator().manual_seed(0)
    student = torch.randn(n, d, generator=make, dtype=torch.float64).to(dtype).requires_grad_()
    return student, torch.randn(n, e, generator=make, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("width", [6, 9])
@pytest.mark.parametrize("dims", [(2, 3, 6), (1, 2, 3, 4, 5, 6), (6,), (4,)])
def test_equals_the_loop_written_definition(oracle, agree, dims, width):
    student, teacher = case(e=width)
    loss = nested_vector_error(student, teacher, dims)
    assert isinstance(loss, NestedLoss)
    assert not loss.per_dim.requires_grad
    agree(loss, oracle.vector_error(student, teacher, dims), (student,))


def test_learned_weights_and_denominator(oracle, agree):
    student, teacher = case()
    weights = torch.tensor([0.5, 3.0], dtype=torch.float64, requires_grad=True)
    loss = nested_vector_error(student, teacher, (2, 6), weights=weights, denominator=11)
    agree(loss, oracle.vector_error(student, teacher, (2, 6), weights, 11), (student, weights))


def test_gradcheck():
    student, teacher = case(3, 4, 4)
    assert torch.autograd.gradcheck(lambda a: nested_vector_error(a, teacher, (1, 2, 4)).total, (student,))


def test_a_student_that_is_its_teacher_has_no_error_and_no_teacher_has_a_gradient():
    student, teacher = case()
    teacher.requires_grad_()
    loss = nested_vector_error(teacher * 3, teacher, (1, 6))
    torch.testing.assert_close(loss.per_dim, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-14)
    (gradient,) = torch.autograd.grad(nested_vector_error(student, teacher, (1, 6)).total, teacher, allow_unused=True)
    assert gradient is None


def test_rows_of_zeros_count_as_zeros(oracle, agree):
    student, teacher = case()
    with torch.no_grad():
        student[1], student[2, :2], teacher[2, :2], teacher[3, :2] = 0.0, 0.0, 0.0, 0.0
    loss = nested_vector_error(student, teacher, (2, 6))
    agree(loss, oracle.vector_error(student, teacher, (2, 6)), (student,))


def test_no_rows_give_zero():
    student, teacher = case(n=0)
    loss = nested_vector_error(student, teacher, (2, 6))
    assert loss.total == 0 and (loss.per_dim == 0).all()


@pytest.mark.wrong_types
@pytest.mark.parametrize(("n", "e", "message"), [(5, 4, "dims"), (4, 6, "teacher")])
def test_what_does_not_fit_is_told(n, e, message):
    student, _ = case()
    with pytest.raises(ValueError, match=message):
        nested_vector_error(student, case(n, e=e)[1], (2, 6))
