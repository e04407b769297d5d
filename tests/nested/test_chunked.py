import pytest
import torch

from matryoshka_text.nested import nested_cross_entropy
from matryoshka_text.nested.chunked import tile_rows

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def case(b, n, d):
    torch.manual_seed(0)
    return torch.randn(b, d, requires_grad=True), torch.randn(n, d, requires_grad=True), torch.arange(b) % n


@pytest.mark.parametrize("normalize", [True, False])
def test_nothing_kept_for_backward_has_a_row_for_each_pair(saved_entries, normalize):
    query, candidate, target = case(64, 64, 8)

    def kept(backend):
        return saved_entries(
            lambda: (
                nested_cross_entropy(query, candidate, target, (2, 4, 8), normalize=normalize, backend=backend).total
            )
        )

    assert max(kept("chunked")) == 64 * 8
    assert max(kept("reference")) >= 64 * 64


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("with_ids", [True, False])
def test_nothing_formed_on_the_way_outgrows_the_tiles(monkeypatch, watch, normalize, with_ids):
    monkeypatch.setattr("matryoshka_text.nested.chunked.tile_rows", lambda columns, device: 4)
    query, candidate, target = case(64, 64, 8)
    ids = {"query_ids": torch.arange(64), "candidate_ids": torch.arange(64)} if with_ids else {}
    with watch() as seen:
        nested_cross_entropy(query, candidate, target, (2, 4, 8), normalize=normalize, **ids).total.backward()
    assert max(seen.entries) == 3 * 4 * 64  # the shares of one tile at three dims
    with watch() as loop:
        nested_cross_entropy(query, candidate, target, (2, 4, 8), normalize=normalize, backend="reference")
    assert max(loop.entries) >= 64 * 64


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_the_tile_size_changes_no_result(monkeypatch, rows):
    query, candidate, target = case(64, 33, 8)
    expected = nested_cross_entropy(query, candidate, target, (2, 4, 8), backend="reference")
    monkeypatch.setattr("matryoshka_text.nested.chunked.tile_rows", lambda columns, device: rows)
    found = nested_cross_entropy(query, candidate, target, (2, 4, 8))
    torch.testing.assert_close(found.per_dim, expected.per_dim)
    torch.testing.assert_close(
        torch.autograd.grad(found.total, (query, candidate)), torch.autograd.grad(expected.total, (query, candidate))
    )


def test_tiles_are_small_on_a_processor_and_bounded_everywhere():
    assert tile_rows(2048, CPU) == 512
    assert tile_rows(30522, CPU) == 64
    assert tile_rows(2**20, CPU) == 4
    assert tile_rows(2**30, CPU) == 1
    assert tile_rows(0, CPU) > 0
    assert tile_rows(2048, GPU) == 8192
    assert tile_rows(2**30, GPU) == 1


def test_the_inputs_are_left_alone():
    query, candidate, target = case(8, 9, 4)
    before = [v.detach().clone() for v in (query, candidate)]
    for normalize in (True, False):
        nested_cross_entropy(query, candidate, target, (2, 4), scale=3.0, normalize=normalize).total.backward()
    assert torch.equal(query, before[0])
    assert torch.equal(candidate, before[1])


def test_one_tensor_on_both_sides_gets_both_gradients():
    vectors, _, target = case(8, 8, 4)
    chunked, reference = (
        torch.autograd.grad(nested_cross_entropy(vectors, vectors, target, (2, 4), backend=backend).total, vectors)[0]
        for backend in ("chunked", "reference")
    )
    torch.testing.assert_close(chunked, reference)


def test_views_and_transposed_inputs():
    wide, columns, target = torch.randn(12, 8), torch.randn(4, 9), torch.arange(6)
    query, candidate = wide[::2, 2:6], columns.T
    chunked, reference = (
        nested_cross_entropy(query, candidate, target, (1, 4), backend=backend) for backend in ("chunked", "reference")
    )
    torch.testing.assert_close(chunked.per_dim, reference.per_dim)
