"""Classification hands the head its own rows and the count of all of them."""

import pytest
import torch
from torch import Tensor

from matryoshka_text.heads.class_head import ClassHead
from matryoshka_text.nested import NestedLoss
from matryoshka_text.objectives.batch import GlobalBatch, Nesting
from matryoshka_text.objectives.classify import Classify

DIMS = (2, 3, 6)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(1, 7, 6), torch.tensor([0, 1, 2, 1, 0, 0, 2])


class Seen:
    def loss(self, rows: Tensor, target: Tensor, nesting: Nesting, denominator: int) -> NestedLoss:
        self.rows, self.target, self.nesting, self.denominator = rows, target, nesting, denominator
        return NestedLoss(rows.sum(), rows.new_zeros(3))


def test_the_head_gets_this_process_s_rows(batch: tuple[Tensor, Tensor]) -> None:
    head, nesting = Seen(), Nesting(DIMS)
    objective = Classify(kind="classify", weight=0.5)
    objective.loss(GlobalBatch(batch[0], None, 2, 5, batch[1], 3, head=head), nesting)
    assert torch.equal(head.rows, batch[0][0, 2:5])
    assert head.target.tolist() == [2, 1, 0]
    assert (head.nesting, head.denominator) == (nesting, 7)
    assert (objective.kind, objective.weight) == ("classify", 0.5)


@pytest.mark.parametrize("kind", ["mrl", "mrl_e"])
@pytest.mark.parametrize("cuts", [[(0, 3), (3, 5), (5, 7)], [(0, 7), (7, 7)]], ids=["thirds", "one has no rows"])
def test_the_shares_of_all_processes_add_up(
    batch: tuple[Tensor, Tensor], kind: str, cuts: list[tuple[int, int]]
) -> None:
    head = ClassHead(["a", "b", "c"], width=6, dims=DIMS, kind=kind).double()

    def gradients(cuts: list[tuple[int, int]]) -> list[Tensor]:
        leaf = batch[0].double().requires_grad_()
        weights = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
        batches = [GlobalBatch(leaf, None, first, last, batch[1], len(cuts), head=head) for first, last in cuts]
        parts = [Classify(kind="classify").loss(part, Nesting(DIMS, weights)) for part in batches]
        total = torch.stack([part.total for part in parts]).sum()
        per_dim = torch.stack([part.per_dim for part in parts]).sum(0)
        return [total.detach(), per_dim, *torch.autograd.grad(total, (leaf, weights, *head.parameters()))]

    for whole, shared in zip(gradients([(0, 7)]), gradients(cuts), strict=True):
        torch.testing.assert_close(shared, whole, rtol=1e-9, atol=1e-12)
