"""All sources of a recipe together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matryoshka_text.data import Examples, read_examples
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import Base, InfoNCE, Recipe, Source, Stopping


def recipe(folder: Path, *sources: Source) -> Recipe:
    return Recipe(
        name="r",
        base=Base(model="m"),
        dims=[2],
        data=sources,
        objectives=[InfoNCE(kind="info_nce")],
        stopping=Stopping(steps=1),
        folder=folder,
    )


def source(name: str, kind: Any = "pairs") -> Source:
    return Source(name=name, file=f"{name}.csv", kind=kind)


def test_sources_come_one_after_the_other_with_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.csv").write_text("anchor,positive\na,b\nc,d\n")
    (tmp_path / "two.csv").write_text("anchor,positive\ne,f\n")
    found = read_examples(recipe(tmp_path, source("one"), source("two")))
    assert isinstance(found, Examples)
    assert len(found) == 3
    assert found.columns == (["a", "c", "e"], ["b", "d", "f"])
    assert found.source.tolist() == [0, 0, 1]
    assert found.source.dtype == np.int16
    assert found.names == ("one", "two")
    assert found.negatives == 0
    assert [found.place(i) for i in range(3)] == [
        f"{tmp_path}/one.csv:2",
        f"{tmp_path}/one.csv:3",
        f"{tmp_path}/two.csv:2",
    ]
    monkeypatch.chdir(tmp_path)
    assert read_examples(recipe(tmp_path, source("one"))).place(0) == "one.csv:2"


def test_faults_of_all_sources_are_told(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("anchor,positive\na,\n")
    with pytest.raises(DataError) as error:
        read_examples(recipe(tmp_path, source("one"), source("two")))
    first, second = str(error.value).splitlines()
    assert first.startswith(f"{tmp_path}/one.csv:2: positive")
    assert second.startswith("data[1].file: found no file")


def test_sources_with_different_numbers_of_negatives(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("anchor,positive,negative\na,b,c\n")
    (tmp_path / "two.csv").write_text("anchor,positive,negative\na,b,c\n")
    assert read_examples(recipe(tmp_path, source("one", "triplets"), source("two", "triplets"))).negatives == 1
    with pytest.raises(DataError) as error:
        read_examples(recipe(tmp_path, source("one"), source("two", "triplets")))
    assert str(error.value) == (
        "data[1]: 'two' gives 1 hard negatives a row, data[0] ('one') gives 0; allowed: the same number in every "
        "source; name the same number of negatives, or use kind pairs for all"
    )
