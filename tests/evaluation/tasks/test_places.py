"""Which folder a task's data come from."""

from pathlib import Path

import pytest

from matryoshka_text.bundled import bundled
from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks.places import data_roots, find_beir, find_hub_layout, find_own, find_text
from matryoshka_text.suite import Suite, TaskEntry


def suite(data: str | None = None, folder: Path = Path()) -> Suite:
    return Suite(name="x", data=data, tasks=(TaskEntry(task="STS13"),), folder=folder)


def test_the_given_root_comes_first_then_the_suites_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("MTEXT_DATA_ROOT", str(tmp_path))
    here = bundled("recipes") / "data"
    assert data_roots(suite("bundled"), None) == [here.resolve()]
    assert data_roots(suite("bundled"), tmp_path / "given") == [tmp_path / "given", here.resolve()]
    assert data_roots(suite("own", tmp_path), None) == [tmp_path / "own"]
    assert data_roots(suite(), tmp_path / "given") == [tmp_path / "given"]
    assert data_roots(suite(), None) == [tmp_path]
    monkeypatch.delenv("MTEXT_DATA_ROOT")
    assert data_roots(suite(), None) == []


def test_a_root_that_is_no_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"--data-root: .*none is no folder"):
        data_roots(suite(), tmp_path / "none")
    monkeypatch.setenv("MTEXT_DATA_ROOT", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"environment variable MTEXT_DATA_ROOT: .*none is no folder"):
        data_roots(suite(), None)


def test_hub_layout_below_the_root_or_its_mteb(small_data: Path) -> None:
    below = small_data / "mteb/mteb__banking77"
    assert find_hub_layout([small_data], "mteb/banking77").folder == below
    assert find_hub_layout([small_data / "mteb"], "mteb/banking77").folder == below
    assert find_hub_layout([], "mteb/banking77").folder is None
    assert "mteb__sts13-sts" in str(find_hub_layout([small_data], "mteb/sts13-sts").problem)
    (small_data / "mteb/mteb__empty").mkdir()
    assert "holds no data file" in str(find_hub_layout([small_data], "mteb/empty").problem)


def test_beir_below_the_root_or_its_extra_or_by_path(small_data: Path) -> None:
    pets = small_data / "extra/pets"
    assert find_beir([small_data], "pets", "test", Path()).folder == pets
    assert find_beir([], str(pets), "test", Path()).folder == pets
    assert find_beir([], "./extra/pets", "test", small_data).folder == pets
    assert "lacks qrels/dev.tsv" in str(find_beir([small_data], "pets", "dev", Path()).problem)
    assert "no such folder" in str(find_beir([small_data], "birds", "test", Path()).problem)
    assert "needs a data root" in str(find_beir([], "birds", "test", Path()).problem)


def test_own_sets_are_a_folder_of_splits_or_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "extra/moods"
    folder.mkdir(parents=True)
    for name in ("train.jsonl.gz", "test.csv", "README.md", ".hidden.csv"):
        (folder / name).write_text("x")
    file = tmp_path / "extra/pairs.jsonl.gz"
    file.write_text("x")
    found = find_own([tmp_path], "moods", Path())
    assert found.folder == folder
    assert found.files == {"test": folder / "test.csv", "train": folder / "train.jsonl.gz"}
    for name in ("pairs", "pairs.jsonl.gz", str(file), str(file).removesuffix(".jsonl.gz")):
        found = find_own([tmp_path], name, Path())
        assert (found.folder, dict(found.files)) == (file, {"": file})
    assert find_own([], "./extra/pairs", tmp_path).folder == file
    assert "no such folder, and no file of that name" in str(find_own([tmp_path], "birds", Path()).problem)
    assert "an own set needs a data root" in str(find_own([], "birds", Path()).problem)
    (tmp_path / "extra/empty").mkdir()
    assert "holds no file <split>.jsonl" in str(find_own([tmp_path], "empty", Path()).problem)


def test_what_is_there_by_path_but_not_by_name_is_hinted_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "suites/pets").mkdir(parents=True)
    (tmp_path / "suites/a.txt").write_text("red")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/birds.csv").write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    base = tmp_path / "suites"
    for said in (find_beir([], "pets", "test", base).problem, find_own([tmp_path], "pets", base).problem):
        assert str(said).endswith(f"; {base}/pets is there, but a path begins with a dot: write ./pets")
    assert str(find_text([], "a.txt", base)).endswith("write ./a.txt")
    assert str(find_own([], "birds", base).problem).endswith("write ./birds.csv on the command line")
    assert "write" not in str(find_own([tmp_path], "./none", base).problem)


def test_two_files_for_one_split_are_not_chosen_between(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("test.csv", "test.json", "train.csv"):
        (tmp_path / "set" / name).write_text("text,label\na,b\n")
    found = find_own([tmp_path], "set", tmp_path)
    assert str(found.problem).endswith("set holds test.csv and test.json for one split; keep one of them")
