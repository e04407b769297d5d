"""Sources divided into rows that are learned from and rows held back, and fitted."""

import numpy as np
import torch

from matryoshka_text import Rotation
from matryoshka_text.rotation import FitSettings, learn, split_sources
from matryoshka_text.rotation.sources import fit_sources


def test_a_source_is_divided_by_the_seed_and_not_by_its_order() -> None:
    angle = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    part = split_sources({"a": rows}, most=500, held_back=0.2, seed=3)["a"]
    assert (len(part.learned), len(part.held_back)) == (400, 100)
    assert len(torch.cat([part.learned, part.held_back]).unique(dim=0)) == 500
    # The first of the held-back rows are asked: they have to come from everywhere in the file.
    assert part.held_back[:20, 0].max() > 0.4
    assert part.held_back[:20, 0].min() < -0.4
    other = split_sources({"a": rows}, most=500, held_back=0.2, seed=4)["a"]
    assert not torch.equal(other.held_back, part.held_back)


def test_what_is_learned_from_is_not_held_back() -> None:
    rows = np.repeat(
        np.random.default_rng(0).standard_normal((60, 16)), 2, axis=0
    )  # as read, a row's own largest entry is 1
    part = split_sources({"a": rows * np.arange(1, 121)[:, None]}, most=1000, held_back=0.5, seed=0)["a"]
    both = torch.nn.functional.normalize(part.held_back, dim=1) @ torch.nn.functional.normalize(part.learned, dim=1).T
    assert 0 < len(part.held_back) < 60 == len(part.learned)
    assert both.max() < 0.9999


def test_rotation_fit_gives_the_rotation_that_learn_gives() -> None:
    rows = {"a": np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)}
    settings = FitSettings(steps=5, anchors=32, check_every=5, warmup=2)
    learned, fitted = learn(rows, (4, 8), settings).rotation, Rotation.fit(rows, (4, 8), settings)
    np.testing.assert_array_equal(fitted.matrix, learned.matrix)
    assert (fitted.dims, fitted.record) == (learned.dims, learned.record)
    matrix, record = fit_sources(split_sources(rows, most=300, held_back=0.1, seed=0), (4, 8), settings)
    np.testing.assert_array_equal(matrix, learned.matrix)
    assert record["rows"] == {"a": 300}
