"""Labels as arrays leave every score of a classification task as it was."""

from pathlib import Path
from typing import Any

import datasets
import mteb
import numpy as np
import pytest
from mteb.abstasks import AbsTaskClassification
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder

from matryoshka_text.evaluation.scoring.collect import LabelledSplit, observed


class Hashed(AbsEncoder):
    """Vectors that depend on the words of a text."""

    def __init__(self) -> None:
        self.mteb_model_meta = ModelMeta.create_empty()

    def encode(self, inputs: Any, **settings: Any) -> np.ndarray:
        words = [text.split() for text in inputs.dataset["text"][:]]
        rows = [sum(np.random.default_rng(list(map(ord, word))).normal(size=6) for word in row) for row in words]
        return np.array(rows, dtype=np.float32)


def scores(task_class: type[AbsTaskClassification], folder: Path, **attributes: Any) -> dict[str, Any]:
    metadata = task_class.metadata
    body = {"metadata": metadata.model_copy(update={"dataset": {"path": str(folder), "revision": "1"}}), **attributes}
    task = type("Local", (task_class,), body)()
    task.load_data()
    split = task.train_split if task.is_cross_validation else "test"
    return dict(task.evaluate(Hashed(), split, encode_kwargs={"batch_size": 8})["default"])


def test_scores_are_identical_with_and_without(small_data: Path) -> None:
    original = type(mteb.get_task("Banking77Classification"))
    folder = small_data / "mteb/mteb__banking77"
    plain, fast = scores(original, folder), scores(observed(original), folder)
    assert fast == plain
    assert 0 < plain["accuracy"] < 1
    assert len(plain["scores_per_experiment"]) == 10


def test_scores_are_identical_under_cross_validation(small_data: Path) -> None:
    original = type(mteb.get_task("Banking77Classification"))
    folder = small_data / "mteb/mteb__banking77"
    settings = {"is_cross_validation": True, "n_splits": 3, "samples_per_label": 4}
    assert scores(observed(original), folder, **settings) == scores(original, folder, **settings)


@pytest.mark.parametrize("labels", [("cat", "dog", "bird"), (0, 1)], ids=["words", "two numbers"])
def test_labels_that_are_words_or_only_two(tmp_path: Path, labels: tuple[Any, ...]) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    rows = [{"text": f"{label} {n}", "label": label} for n in range(10) for label in labels]
    for split in ("train", "test"):
        datasets.Dataset.from_list(rows).to_json(folder / f"{split}.jsonl")
    original = type(mteb.get_task("Banking77Classification"))
    plain = scores(original, folder)
    assert (plain["ap"] > 0) == (len(labels) == 2)
    assert scores(observed(original), folder) == plain


def test_a_labelled_split_is_the_split_with_whole_columns() -> None:
    split = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [3, 1, 2]})
    wrapped = LabelledSplit(split, "label")
    assert isinstance(wrapped["label"], np.ndarray)
    assert wrapped["text"] == ["a", "b", "c"]
    assert wrapped[0] == {"text": "a", "label": 3}
    assert (len(wrapped), wrapped.num_rows, wrapped.column_names) == (3, 3, ["text", "label"])
    chosen = wrapped.select([2, 0])
    assert chosen["label"].tolist() == [2, 3]
    assert chosen["text"] == ["c", "a"]
