import torch

from matryoshka_text.rotating.clusters import divided
from matryoshka_text.rotation import FitSettings, Split


def _settings(*, least: int, seed: int) -> FitSettings:
    return FitSettings(anchors=least, neighbours=1, seed=seed)


def _mixed(sizes: tuple[int, ...]) -> tuple[Split, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    kinds = kinds[torch.randperm(len(kinds), generator=generator)]
    vectors = 5 * torch.eye(8)[kinds] + 0.3 * torch.randn(len(kinds), 8, generator=generator)
    return Split(vectors, vectors[:20] * 3), kinds


def test_kinds_of_text_are_told_apart_and_rows_are_as_they_were() -> None:
    part, kinds = _mixed((30, 100, 60))
    found = divided({"mixed": part, "b": part}, 3, _settings(least=5, seed=0))
    assert list(found) == ["mixed #1", "mixed #2", "mixed #3", "b #1", "b #2", "b #3"]
    for number, kind in ((1, 1), (2, 2), (3, 0)):
        torch.testing.assert_close(found[f"mixed #{number}"].learned, part.learned[kinds == kind], rtol=0, atol=0)
        torch.testing.assert_close(found[f"mixed #{number}"].held_back, part.held_back[kinds[:20] == kind])
    again = divided({"mixed": part}, 3, _settings(least=5, seed=0))
    assert all(torch.equal(again[name].learned, found[name].learned) for name in again)


def test_small_clusters_are_dissolved_and_one_is_no_division() -> None:
    part, _ = _mixed((100, 90, 3))
    found = divided({"mixed": part}, 3, _settings(least=5, seed=1))
    assert sum(len(one.learned) for one in found.values()) == 193
    assert all(len(one.learned) >= 5 for one in found.values())
    assert divided({"mixed": part}, 1, _settings(least=5, seed=0)) == {"mixed": part}


def test_equal_rows_are_one_cluster() -> None:
    same = Split(torch.ones(40, 4), torch.ones(0, 4))
    found = divided({"a": same}, 3, _settings(least=2, seed=0))
    assert [len(one.learned) for one in found.values()] == [40]
    assert found["a #1"].held_back.shape == (0, 4)
