"""Suites are found by name or path, and every mistake is named."""

from pathlib import Path

import pytest

from matryoshka_text.errors import RecipeError
from matryoshka_text.suite import load_suite, suite_names


def test_every_bundled_suite_loads_under_its_own_name() -> None:
    assert {"quick", "sts", "retrieval"} <= set(suite_names())
    for name in suite_names():
        assert load_suite(name).name == name


def test_quick_needs_nothing_but_the_package() -> None:
    quick = load_suite("quick")
    assert quick.data == "bundled"
    assert [entry.name for entry in quick.tasks] == ["Banking77Classification", "squad"]


def test_mlm_needs_nothing_but_the_package() -> None:
    mlm = load_suite("mlm")
    assert mlm.data == "bundled"
    (entry,) = mlm.tasks
    assert (entry.name, entry.share, entry.max_length, entry.seed) == ("held_out", 0.15, 128, 0)


def test_a_file_is_read_and_remembers_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\ndims: [8, 16]\nnormalize: false\ntasks: [{task: STS13, split: test}, {retrieval: a/b}]\n"
    )
    suite = load_suite(path)
    assert (suite.dims, suite.normalize, suite.folder) == ((8, 16), False, tmp_path)
    assert [entry.name for entry in suite.tasks] == ["STS13", "b"]


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"unknown suite 'quik'; did you mean quick\? bundled: all, "):
        load_suite("quik")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(RecipeError, match=r"none/suite\.yaml: there is no such suite file"):
        load_suite("none/suite.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nmore: 1\ntasks: [{task: STS13}]", r"more: unknown key \(found 1\); allowed here: name, "),
        (
            "name: x\ntasks: [{task: STS13, splits: a}]",
            r"tasks\.0\.splits: unknown key .*allowed here: task, retrieval",
        ),
        ("name: x\ntasks: []", r"tasks: found \[\]; allowed: at least one task"),
        ("name: x\ntasks: [{split: test}]", r"tasks\.0: give exactly one of `task`"),
        ("name: x\ntasks: [{task: A, retrieval: b}]", r"tasks\.0: give exactly one of `task`"),
        (
            "name: x\ntasks: [{task: A, masked_text: b.txt}]",
            r"tasks\.0: give exactly one of `task` .*`masked_text` \(a \.txt",
        ),
        (
            "name: x\ntasks: [{masked_text: b.csv}]",
            r"masked_text: found 'b\.csv'; allowed: a file that ends in \.txt or",
        ),
        (
            "name: x\ntasks: [{masked_text: b.txt, split: test}]",
            r"tasks\.0: found split; allowed beside masked_text: name, share, max_length, seed",
        ),
        (
            "name: x\ntasks: [{task: A, name: b, seed: 1}]",
            r"tasks\.0: found name, seed, for masked_text alone; allowed here: task, retrieval, split",
        ),
        ("name: x\ntasks: [{masked_text: b.txt, share: 1.5}]", r"tasks\.0\.share: .*less than 1, found 1\.5"),
        ("name: x\ntasks: [{masked_text: b.txt}, {masked_text: c/b.txt.gz}]", r"tasks: b occurs twice"),
        ("name: x\ntasks: [{task: A}, {task: A}]", r"tasks: A occurs twice"),
        ("name: x\ndims: [8, 8]\ntasks: [{task: A}]", r"dims: found \[8, 8\]; allowed: strictly increasing"),
        ("name: x\ndims: [0, 8]\ntasks: [{task: A}]", r"dims: found \[0, 8\]; allowed: strictly increasing"),
        ("name: X y\ntasks: [{task: A}]", r"name: .*found 'X y'"),
        ("name: x\nname: y\ntasks: [{task: A}]", r"the key 'name' occurs twice"),
        ("name: x\nfolder: /\ntasks: [{task: A}]", r"folder: unknown key"),
        ("- a", r"holds list; allowed: a mapping"),
        ("a: [", r"is no YAML"),
    ],
)
def test_every_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=said):
        load_suite(path)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: x\nmore: 1\ndims: [2, 1]\ntasks: [{split: test}]")
    with pytest.raises(RecipeError) as caught:
        load_suite(path)
    assert len(str(caught.value).splitlines()) == 3
