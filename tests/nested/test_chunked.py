import pytest
import torch

from matryoshka_text.nested import nested_cross_entropy
from matryoshka_text.nested.chunked import panel_columns, tile_rows

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
    assert max(seen.entries) == 64 * 8  # a gradient of the vectors; a tile is 4 * 64
    with watch() as loop:
        nested_cross_entropy(query, candidate, target, (2, 4, 8), normalize=normalize, backend="reference")
    assert max(loop.entries) >= 64 * 64


def test_thin_and_wide_blocks_and_panels_of_a_tile_change_no_result(monkeypatch):
    torch.manual_seed(0)
    query, candidate = torch.randn(21, 80, requires_grad=True), torch.randn(101, 80, requires_grad=True)
    bias, target, dims = torch.randn(101, requires_grad=True), torch.randint(0, 101, (21,)), (3, 4, 36, 80)
    monkeypatch.setattr("matryoshka_text.nested.chunked.panel_columns", lambda rows, device: 17)
    for normalize in (True, False):
        found, expected = (
            torch.autograd.grad(
                nested_cross_entropy(
                    query, candidate, target, dims, normalize=normalize, bias=bias, backend=backend
                ).total,
                (query, candidate, bias),
            )
            for backend in ("chunked", "reference")
        )
        torch.testing.assert_close(found, expected)


def test_a_loss_can_be_differentiated_again_from_a_kept_graph_with_another_factor():
    query, candidate, target = case(8, 9, 4)
    total = nested_cross_entropy(query, candidate, target, (2, 4)).total
    once, thrice = (torch.autograd.grad(total, query, torch.tensor(f), retain_graph=True)[0] for f in (1.0, 3.0))
    torch.testing.assert_close(thrice, 3 * once)


@pytest.mark.parametrize("of", [("bias",), ("scale",), ("bias", "scale"), ("query", "scale")])
@pytest.mark.parametrize("normalize", [True, False])
def test_each_input_gets_its_gradient_whichever_others_ask_for_one(of, normalize):
    query, candidate, target = (v.detach() for v in case(8, 9, 4))
    given = {"query": query, "bias": torch.randn(9), "scale": torch.tensor(3.0)}
    leaves = [given[name].requires_grad_() for name in of]
    more = {"candidate": candidate, "target": target, "dims": (2, 4), "normalize": normalize}
    mask = torch.rand(8, 9) < 0.3
    found, expected = (
        torch.autograd.grad(nested_cross_entropy(**given, **more, mask=mask, backend=backend).total, leaves)
        for backend in ("chunked", "reference")
    )
    torch.testing.assert_close(found, expected)


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


def test_panels_stay_in_a_cache_on_a_processor_and_are_whole_tiles_elsewhere():
    assert panel_columns(64, CPU) == 8192
    assert panel_columns(512, CPU) == 4096
    assert panel_columns(8192, GPU) is None


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
