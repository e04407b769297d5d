"""Neighbourhood batches: never across sources, every row an anchor before any is one again."""

from itertools import islice

import torch

from matryoshka_text.rotation.batches import neighbourhood_batches


def neighbours(rows: int) -> torch.Tensor:
    return torch.stack([(torch.arange(rows) + 1) % rows, (torch.arange(rows) + 2) % rows], dim=1)


def test_a_batch_is_of_one_source_and_holds_its_anchors_neighbours() -> None:
    tables = [neighbours(40), neighbours(7), neighbours(100)]
    for source, rows in islice(neighbourhood_batches(tables, anchors=10, seed=0), 60):
        assert rows.max() < len(tables[source])
        assert len(rows) == len(set(rows.tolist()))
        within = set(rows.tolist())
        whole = [row for row in within if set(tables[source][row].tolist()) <= within]
        assert len(whole) >= min(10, len(tables[source]))


def test_sources_take_turns_whatever_their_size() -> None:
    walk = list(islice(neighbourhood_batches([neighbours(40), neighbours(400), neighbours(8)], anchors=5, seed=1), 30))
    for start in range(0, 30, 3):
        assert sorted(source for source, _ in walk[start : start + 3]) == [0, 1, 2]


def test_the_seed_settles_the_order() -> None:
    walks = [list(islice(neighbourhood_batches([neighbours(50)], anchors=4, seed=seed), 5)) for seed in (1, 1, 2)]
    rows = [[row.tolist() for _, row in walk] for walk in walks]
    assert rows[0] == rows[1] != rows[2]
