"""Suites are found by name or path, and every mistake is named."""

from pathlib import Path

import pytest

from matryoshka_text.errors import RecipeError
from matryoshka_text.suite import load_suite, suite_names


def test_every_bundled_suite_loads_under_its_own_name() -> None:
    assert {"quick", "sts", "retrieval", "english", "mlm", "all"} <= set(suite_names())
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


def test_the_new_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\nlayers: [2, 4]\nprecisions: [float32, int8]\nbaselines: [pca]\ndraws: 5\nsample: a.txt.gz\n"
        "prompts: {STS: 'alike: '}\nseed: 3\ntasks:\n"
        '  - {benchmark: "MTEB(eng, v2)", languages: [eng]}\n'
        "  - {task: STS17, subsets: [en-en]}\n"
        "  - {pair_classification: pairs.jsonl.gz, positive: yes, columns: {sentence1: a, sentence2: b}}\n"
    )
    suite = load_suite(path)
    assert (suite.layers, suite.precisions, suite.baselines, suite.draws) == ((2, 4), ("float32", "int8"), ("pca",), 5)
    assert (suite.sample, suite.prompts, suite.seed) == ("a.txt.gz", {"STS": "alike: "}, 3)
    benchmark, task, pairs = suite.tasks
    assert (benchmark.kind, benchmark.name, benchmark.languages) == ("benchmark", "MTEB(eng, v2)", ("eng",))
    assert (task.kind, task.target, task.subsets) == ("task", "STS17", ("en-en",))
    # YAML 1.2: `yes` is a word.
    assert (pairs.name, pairs.positive, pairs.columns) == ("pairs", "yes", {"sentence1": "a", "sentence2": "b"})


def test_each_task_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("name: own\ntasks:\n  - {task: STS13}\n\n  - task: STS14\n    split: test\n")
    suite = load_suite(path)
    assert [suite.place(index) for index in (0, 1)] == [f"{path}:3: tasks[0]", f"{path}:5: tasks[1]"]
    assert suite.given == str(path)
    assert suite.model_copy(update={"places": ()}).place(1) == "suite own: tasks[1]"


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"unknown suite 'quik'; did you mean quick\? bundled: all, "):
        load_suite("quik")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(RecipeError, match=r"none/suite\.yaml: there is no such suite file"):
        load_suite("none/suite.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "name: x\nmore: 1\ntasks: [{task: STS13}]",
            r":2: more: unknown key \(found 1\); allowed here: name, .*remove it",
        ),
        ("name: x\ndim: [8]\ntasks: [{task: STS13}]", r":2: dim: unknown key .*; did you mean 'dims'\?"),
        (
            "name: x\ntasks:\n  - {task: STS13}\n  - {task: STS14, splits: a}",
            r":4: tasks\[1\]\.splits: unknown key .*allowed here: task, benchmark, .*did you mean 'split'\?",
        ),
        ("name: x\ntasks: []", r":2: tasks: found \[\]; allowed: at least one task"),
        ("name: x", r":1: tasks: found nothing; it has to be given"),
        (
            "name: x\ntasks: [{split: test}]",
            r":2: tasks\[0\]: found none; give exactly one of `task` \(a task of mteb\)",
        ),
        ("name: x\ntasks: [{task: A, retrieval: b}]", r":2: tasks\[0\]: found task and retrieval; give exactly one of"),
        ("name: x\ntasks: [{task: A, masked_text: b.txt}]", r"give exactly one of .*`masked_text` \(a \.txt"),
        (
            "name: x\ntasks: [{masked_text: b.csv}]",
            r"masked_text: found 'b\.csv'; allowed: a file that ends in \.txt or",
        ),
        (
            "name: x\ntasks: [{masked_text: b.txt, split: test}]",
            r"tasks\[0\]: found split; allowed with masked_text: name, share, max_length, seed",
        ),
        (
            "name: x\ntasks: [{task: A, name: b, seed: 1}]",
            r"tasks\[0\]: found name, seed; allowed with task: split, languages, subsets",
        ),
        (
            "name: x\ntasks: [{sts: a, positive: 1}]",
            r"found positive; allowed with sts: split, name, languages, columns",
        ),
        (
            "name: x\ntasks: [{sts: a, columns: {text: b}}]",
            r"columns: found text; allowed with sts: sentence1, sentence2, score, split",
        ),
        ("name: x\ntasks: [{task: A, languages: []}]", r"languages: found \[\]; allowed: at least one name, each once"),
        ("name: x\ntasks: [{task: A, subsets: [a, a]}]", r"subsets: found \['a', 'a'\]; allowed: at least one name"),
        ("name: x\ntasks: [{sts: a, name: a/b}]", r"tasks\[0\]\.name: .*found 'a/b'"),
        ("name: x\ntasks: [{masked_text: b.txt, share: 1.5}]", r"tasks\[0\]\.share: .*less than 1, found 1\.5"),
        ("name: x\ntasks: [{masked_text: b.txt}, {masked_text: c/b.txt.gz}]", r"tasks: b occurs twice"),
        ("name: x\ntasks: [{task: A}, {task: A}]", r"tasks: A occurs twice"),
        ("name: x\ndims: [8, 8]\ntasks: [{task: A}]", r":2: dims: dims\[1\] is 8 .*each above the one before"),
        ("name: x\ndims: [0, 8]\ntasks: [{task: A}]", r"dims: dims\[0\] is 0 "),
        ("name: x\nlayers: [4, 2]\ntasks: [{task: A}]", r"layers: found \[4, 2\]; allowed: strictly increasing"),
        ("name: x\nlayers: [0]\ntasks: [{task: A}]", r"layers\[0\]: .*greater than 0, found 0"),
        ("name: x\nprecisions: [int8]\ntasks: [{task: A}]", r"precisions: found \['int8'\]; .*float32 among them"),
        ("name: x\nprecisions: [int4]\ntasks: [{task: A}]", r"precisions\[0\]: .*found 'int4'"),
        (
            "name: x\nbaselines: [pca, pca]\ntasks: [{task: A}]",
            r"baselines: found \['pca', 'pca'\]; allowed: different",
        ),
        (
            "name: x\nbaselines: [first]\ntasks: [{task: A}]",
            r"different ones of random, pca, svd, projection, rotation; `first`",
        ),
        (
            "name: x\nsample: a.csv\ntasks: [{task: A}]",
            r"sample: found 'a\.csv'; allowed: a file that ends in \.txt or",
        ),
        ("name: X y\ntasks: [{task: A}]", r"name: .*found 'X y'"),
        ("name: x\nname: y\ntasks: [{task: A}]", r":2: found the key 'name' again \(first in line 1\)"),
        ("name: x\nfolder: /\ntasks: [{task: A}]", r":2: folder: unknown key"),
        ("name: x\nplaces: [a]\ntasks: [{task: A}]", r":2: places: unknown key"),
        ("- a", r"holds list; allowed: a mapping"),
        ("", r"holds nothing; allowed: a mapping"),
        ("{}", r":1: name: found nothing; it has to be given"),
        ('name: "\\0"\ntasks: [{task: A}]', r":1: found a NUL or half a surrogate pair"),
        ("name: x\ndraws: 1000000000\ntasks: [{task: A}]", r":2: draws: .*1000, found 1000000000"),
        (
            "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)),
            "found more than 100,000 values, those of aliases counted",
        ),
        ("a: [", r":1: found broken YAML"),
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
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{path}:").partition(":")[0] for line in lines] == ["2", "3", "4"]
