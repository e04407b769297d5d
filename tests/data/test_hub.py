"""Data sets of the hub, from a datasets cache that is made here; nothing is fetched."""

from pathlib import Path
from typing import Any

import pytest

from matryoshka_text.data import Unreachable, fingerprint, read_source
from matryoshka_text.errors import DataError
from matryoshka_text.objectives.info_nce import InfoNCE
from matryoshka_text.recipe import Base, Recipe, Source, Stopping

COMMIT = "a" * 40
ROWS: dict[str, list[Any]] = {"premise": ["p"] * 4, "hypothesis": ["yes", "no", "?", "so"], "label": [2, 0, -1, 1]}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A datasets cache that holds owner/my-set, config pair; its classes are numbered unlike SNLI's."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cache" / "owner___my-set" / "pair" / "0.0.0" / COMMIT
    folder.mkdir(parents=True)
    label = datasets.ClassLabel(names=["contradiction", "neutral", "entailment"])
    features = datasets.Features(
        {"premise": datasets.Value("string"), "hypothesis": datasets.Value("string"), "label": label}
    )
    writer = ArrowWriter(path=str(folder / "my-set-train.arrow"), features=features)
    for premise, hypothesis, number in zip(*ROWS.values(), strict=True):
        writer.write({"premise": premise, "hypothesis": hypothesis, "label": number})
    count, size = writer.finalize()
    split = datasets.SplitInfo("train", num_bytes=size, num_examples=count, dataset_name="my-set")
    datasets.DatasetInfo(
        features=features,
        builder_name="parquet",
        dataset_name="my-set",
        config_name="pair",
        version="0.0.0",
        splits=datasets.SplitDict({"train": split}),
    ).write_to_directory(str(folder))
    return tmp_path


def source(**changes: Any) -> Source:
    return Source(**{"name": "s", "hub": "owner/my-set", "config": "pair", "kind": "nli", **changes})


def test_a_cached_data_set_is_read_with_its_own_class_names(cache: Path) -> None:
    found = read_source(source(), cache)
    assert list(found.texts()) == [("p", "yes", "no")]
    assert f"{found.label}:{found.numbers[0]}" == "hub owner/my-set[pair] train:1"


def test_an_unlabelled_row_of_a_labelled_source_is_told(cache: Path) -> None:
    with pytest.raises(DataError) as error:
        read_source(source(kind="labelled", columns={"text": "hypothesis"}), cache)
    assert str(error.value) == (
        "hub owner/my-set[pair] train:3: label (column 'label'): found -1, which stands for no label on the hub; "
        "allowed: a text or a whole number; use a split that has labels"
    )


def test_the_asked_commit_is_the_one_that_is_read(cache: Path) -> None:
    assert len(read_source(source(revision=COMMIT), cache)) == 1
    with pytest.raises(DataError) as error:
        read_source(source(revision="b" * 40), cache, key="data[0]")
    assert str(error.value).startswith(f"data[0].revision: found commit {COMMIT} of 'owner/my-set' in the cache")


def test_a_data_set_that_cannot_be_had_says_what_was_tried(cache: Path) -> None:
    with pytest.raises(Unreachable) as error:
        read_source(source(hub="owner/other"), cache, key="data[0]")
    message = str(error.value)
    assert message.startswith(
        "data[0].hub: the data set 'owner/other', config pair, split train, revision main cannot be"
    )
    assert f"Tried: the datasets cache ({cache / 'cache'}), the hub (Couldn't reach" in message
    assert message.endswith("save it as a file and use `file:`")


@pytest.mark.parametrize(("change", "part"), [({"config": "none"}, "none"), ({"split": "tst"}, 'Unknown split "tst"')])
def test_a_config_or_split_that_is_not_there(cache: Path, change: dict[str, str], part: str) -> None:
    with pytest.raises(DataError) as error:
        read_source(source(**change), cache)
    assert not isinstance(error.value, Unreachable)
    assert part in str(error.value)
    assert "allowed: an existing config, split and revision" in str(error.value)


def test_a_missing_column_of_the_hub(cache: Path) -> None:
    with pytest.raises(DataError) as error:
        read_source(source(columns={"label": "labels"}), cache, key="data[0]")
    assert str(error.value) == (
        "data[0].columns.label: found no column 'labels' in hub owner/my-set[pair] train; "
        "allowed: premise, hypothesis, label; write `label: label`"
    )


def test_a_folder_of_the_same_name_is_not_taken_for_the_hub(cache: Path) -> None:
    (cache / "owner" / "my-set").mkdir(parents=True)
    with pytest.raises(DataError, match="is also a path in the working folder"):
        read_source(source(), cache)


def test_the_fingerprint_is_of_the_rows(cache: Path) -> None:
    recipe = Recipe(
        name="r",
        base=Base(model="m"),
        dims=[2],
        data=[source()],
        objectives=[InfoNCE(kind="info_nce")],
        stopping=Stopping(steps=1),
    )
    first = fingerprint(recipe)
    assert list(first) == ["data.s"]
    assert first["data.s"].startswith("rows sha256:")
    assert fingerprint(recipe) == first
    fewer = recipe.model_copy(
        update={"data": (source(kind="pairs", columns={"anchor": "premise", "positive": "label"}),)}
    )
    assert fingerprint(fewer) != first
