"""Related texts found by the starting model: every result against a plain float64 search."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matryoshka_text.build.mining import MinedRows, mine_pairs, stored_pairs
from matryoshka_text.data import SourceRows
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import Source
from tests.builders import source_rows

TEXTS = [
    "the cat is sleeping",
    "money transfer to my bank account",
    "A  Cat is sleeping",
    "the man made a payment with the card",
    "The CAT is  sleeping",
    "a woman playing the guitar in the street",
    "he put money on the card",
    "the dog is sleeping in the house",
    "my bank account",
    "the boy can read and spell",
]


def rows(texts: list[str]) -> SourceRows:
    return source_rows("t.txt", [(text,) for text in texts], [10 + i for i in range(len(texts))])


def source(**neighbours: Any) -> Source:
    return Source(name="t", file="t.txt", kind="mined", neighbours=neighbours)


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> MatryoshkaEncoder:
    return MatryoshkaEncoder(tiny_model, device="cpu")


def oracle(encoder: MatryoshkaEncoder, texts: list[str], count: int, lowest: float) -> list[tuple[int, int]]:
    """(anchor, positive) by a loop over all pairs in float64."""
    vectors = np.asarray(encoder.encode(texts), dtype=np.float64)
    seen: set[str] = set()
    kept = []
    for i, text in enumerate(texts):
        plain = " ".join(text.lower().split())
        if plain not in seen:
            seen.add(plain)
            kept.append(i)
    pairs: list[tuple[int, int]] = []
    for i in kept:
        found = []
        for j in kept:
            if i != j:
                cosine = float(vectors[i] @ vectors[j] / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j]))
                found.append((-cosine, j))
        for negative, j in sorted(found)[:count]:
            if -negative >= lowest and (i, j) not in pairs and (j, i) not in pairs:
                pairs.append((i, j))
    return pairs


@pytest.mark.parametrize("count", [1, 3, 50])
@pytest.mark.parametrize("block", [1, 3, 1024])
def test_the_pairs_are_those_of_a_float64_search(encoder: MatryoshkaEncoder, count: int, block: int) -> None:
    found = mine_pairs(encoder, rows(TEXTS), source(count=count), batch_size=2, block=block)
    expected = oracle(encoder, TEXTS, count, -1)
    assert [(pair.anchor, pair.positive) for pair in found.pairs] == expected
    assert list(found.texts()) == [(TEXTS[i], TEXTS[j]) for i, j in expected]
    assert found.numbers.tolist() == [10 + i for i, _ in expected]
    assert (found.label, found.values, found.vectors) == ("t.txt", None, None)
    vectors = encoder.encode(TEXTS)
    for pair in found.pairs:
        assert pair.cosine == pytest.approx(float(vectors[pair.anchor] @ vectors[pair.positive]), abs=1e-6)
    if count == 50:
        assert len(expected) == 9 * 8 // 2  # ten texts, two of them equal


def test_a_lowest_cosine_leaves_out_the_others(encoder: MatryoshkaEncoder) -> None:
    cosines = sorted(pair.cosine for pair in mine_pairs(encoder, rows(TEXTS), source(count=3)).pairs)
    lowest = (cosines[-3] + cosines[-4]) / 2
    found = mine_pairs(encoder, rows(TEXTS), source(count=3, lowest=lowest))
    assert len(found.pairs) == 3
    assert [(pair.anchor, pair.positive) for pair in found.pairs] == oracle(encoder, TEXTS, 3, lowest)


def test_the_encoder_and_the_random_state_are_left_as_they_were(encoder: MatryoshkaEncoder) -> None:
    encoder.train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = mine_pairs(encoder, rows(TEXTS), source())
    assert torch.equal(torch.get_rng_state(), before)
    assert encoder.training
    encoder.eval()
    assert mine_pairs(encoder, rows(TEXTS), source()) == found


def test_what_leaves_no_pair_says_how_to_get_one(encoder: MatryoshkaEncoder) -> None:
    with pytest.raises(DataError) as error:
        mine_pairs(encoder, rows(["Same  text", "same text"]), source())
    assert str(error.value) == (
        "t.txt: found 2 texts that are all the same; allowed: at least two different ones in a mined source ('t'); "
        "use more data"
    )
    best = max(pair.cosine for pair in mine_pairs(encoder, rows(TEXTS), source()).pairs)
    with pytest.raises(DataError) as error:
        mine_pairs(encoder, rows(TEXTS), source(lowest=1.0))
    assert str(error.value) == (
        "t.txt: found no two texts of source 't' with a cosine of at least 1.0; allowed: a neighbours.lowest of at "
        f"most {best:.4f}, the highest there is; lower it, or use more data"
    )


class Counted:
    """`mine_pairs` that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, encoder: MatryoshkaEncoder, found: SourceRows, section: Source) -> MinedRows:
        self.calls += 1
        return mine_pairs(encoder, found, section)


def test_pairs_are_mined_once_and_read_back(encoder: MatryoshkaEncoder, tmp_path: Path) -> None:
    path, compute = tmp_path / "run" / "mined-t.jsonl", Counted()
    first = stored_pairs(path, encoder, rows(TEXTS), source(count=2), compute)
    head, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert head["pairs"] == len(lines) == len(first.pairs)
    assert lines[0] == list(first.pairs[0])
    assert stored_pairs(path, encoder, rows(TEXTS), source(count=2), compute) == first
    assert compute.calls == 1
    assert stored_pairs(None, encoder, rows(TEXTS), source(count=2), compute) == first
    assert compute.calls == 2


@pytest.mark.parametrize("change", ["texts", "settings", "weights", "cut", "rows", "garbage"])
def test_a_file_of_something_else_is_mined_anew(
    change: str, encoder: MatryoshkaEncoder, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, compute = tmp_path / "mined-t.jsonl", Counted()
    texts, section = TEXTS, source(count=2)
    stored_pairs(path, encoder, rows(texts), section, compute)
    if change == "texts":
        texts = [*TEXTS[:-1], "another text"]
    elif change == "settings":
        section = source(count=1)
    elif change == "weights":
        encoder = MatryoshkaEncoder(tiny_model, device="cpu")
        with torch.no_grad():
            next(encoder.parameters())[7, 0] += 0.5
    elif change == "cut":
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    elif change == "rows":
        head, _, *lines = path.read_text().splitlines()
        path.write_text("\n".join([head, "[0, 999, 0.5]", *lines]) + "\n")
    else:
        path.write_text("garbage")
    with caplog.at_level(logging.WARNING):
        found = stored_pairs(path, encoder, rows(texts), section, compute)
    assert compute.calls == 2
    assert "mined anew" in caplog.text
    assert found == mine_pairs(encoder, rows(texts), section)
    assert stored_pairs(path, encoder, rows(texts), section, compute) == found
    assert compute.calls == 2
