"""Folders that `save_to_disk` of the datasets library wrote."""

from pathlib import Path

import datasets
import pytest

from matryoshka_text.data import read_source
from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks.places import find_own
from matryoshka_text.files import sha256_of
from matryoshka_text.reading import Faults, Texts, open_table
from matryoshka_text.recipe import Source

ROWS = {
    "anchor": ["a", "b"],
    "record": [{"positive": "p"}, {"positive": "q"}],
    "label": [1, 0],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = datasets.Dataset.from_dict(ROWS).cast_column("label", datasets.ClassLabel(names=["no", "yes"]))
    datasets.DatasetDict(train=made, test=made.select([1])).save_to_disk(tmp_path / "set")
    return tmp_path / "set"


def test_its_rows_with_columns_inside_others_and_names_of_classes(folder: Path) -> None:
    table = open_table(folder / "train", Faults())
    assert table.columns == ("anchor", "record.positive", "label")
    assert [(n, row["anchor"], row["record.positive"], row["label"]) for n, row in table.rows] == [
        (1, "a", "p", "yes"),
        (2, "b", "q", "no"),
    ]


def test_training_encoding_and_own_sets_read_it(folder: Path) -> None:
    columns = {"anchor": "anchor", "positive": "record.positive"}
    source = Source(name="s", file="set/train", kind="pairs", columns=columns)
    assert list(read_source(source, folder.parent).texts()) == [("a", "p"), ("b", "q")]
    texts = Texts([folder / "train"], "record.positive")
    assert [text.text for text in texts] == ["p", "q"]
    assert texts.survey()[0].sha256 == sha256_of(folder / "train") != sha256_of(folder / "test")
    assert set(find_own([folder.parent], "set", folder).files) == {"train", "test"}
    assert find_own([folder], "test", folder).files == {"": folder / "test"}


def test_several_splits_and_damaged_files(folder: Path) -> None:
    with pytest.raises(DataError, match=r"several splits; allowed: one of them; name .*set/test or .*set/train"):
        open_table(folder, Faults())
    with pytest.raises(DataError, match=r"found the folder .*; allowed: a file \(.*\) or a folder that save_to_disk"):
        open_table(folder.parent, Faults())
    (data,) = (folder / "train").glob("*.arrow")
    data.write_bytes(data.read_bytes()[:50])
    with pytest.raises(DataError, match="is a broken data set"):
        open_table(folder / "train", Faults())
