"""Reading a recipe file."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from matryoshka_text.errors import RecipeError
from matryoshka_text.recipe import load_recipe, read_recipe

Problems = Callable[..., list[str]]


def test_one_error_tells_everything(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: x\ndims: [2, 1]\nfoo: 1\n")
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    lines = str(error.value).splitlines()
    assert len(lines) == 6
    assert all(line.startswith(f"{path}:") for line in lines)


@pytest.mark.parametrize("text", ["", "# nothing\n", "5\n", "- a\n- b\n"])
def test_a_file_that_is_no_mapping(problems: Problems, text: str) -> None:
    (problem,) = problems(text=text)
    assert problem.startswith("r.yaml: found ")
    assert problem.endswith("; allowed: a mapping of keys; start with `name: my-recipe`")


def test_broken_yaml_names_the_line(problems: Problems) -> None:
    (problem,) = problems(text="name: x\ndims: [1, 2\nseed: 1\n")
    assert problem.startswith("r.yaml:3: found broken YAML (")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"name: \xff\n")
    assert read_recipe(path).problems == (
        f"{path}: found bytes that are not UTF-8 (at byte 6); allowed: UTF-8 text; save it as UTF-8",
    )


def test_a_byte_order_mark_is_no_fault(tmp_path: Path, good: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("\ufeff" + good, encoding="utf-8")
    assert load_recipe(path).name == "good"


def test_a_missing_file_offers_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("")
    (problem,) = read_recipe(tmp_path / "quickstrat.yaml").problems
    assert problem.endswith(f"the .yaml files in {tmp_path} are: quickstart.yaml")
    (problem,) = read_recipe(tmp_path / "none" / "x.yaml").problems
    assert problem.endswith("none holds no .yaml file")


def test_a_folder_and_a_glob_that_matches_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    (problem,) = read_recipe(tmp_path).problems
    assert problem == f"{tmp_path}: found a folder; allowed: a recipe file; name one of its .yaml files (a.yaml)"
    (problem,) = read_recipe(tmp_path / "*.yml").problems
    assert problem == (
        f"{tmp_path}/*.yml: found no file that matches; allowed: existing recipe files; look in {tmp_path}"
    )


def test_files_are_relative_to_the_recipe_or_to_its_folder_key(tmp_path: Path, good: str) -> None:
    path = tmp_path / "sub" / "r.yaml"
    path.parent.mkdir()
    path.write_text(good)
    assert load_recipe(path).folder == tmp_path / "sub"
    path.write_text(good + "folder: ..\n")
    assert load_recipe(path).folder == tmp_path


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; import matryoshka_text.recipe; "
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'sentence_transformers', 'mteb'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    broken = subprocess.run(
        [sys.executable, "-c", "import numpy; " + code], capture_output=True, text=True, check=False
    )
    assert "AssertionError" in broken.stderr, "the check above cannot fail"


def test_public_names() -> None:
    import matryoshka_text.recipe as room

    assert all(hasattr(room, name) for name in room.__all__)
    assert sorted(room.__all__, key=str.casefold) == sorted(set(room.__all__), key=str.casefold)


@pytest.mark.parametrize(
    ("add", "said"),
    [
        ("folder: 5\n", "r.yaml:13: folder: found 5; allowed: the path of a folder"),
        ('folder: "\\0"\n', "r.yaml:13: found a NUL or half a surrogate pair"),
        ('folder: "\\ud800"\n', "r.yaml:13: found a NUL or half a surrogate pair"),
        ("evaluation: {every: 1, data: 5}\n", "r.yaml:13: evaluation.data: found 5; allowed: a list of sections"),
        ("layers: {kind: pairs, pairs: 5}\n", "r.yaml:13: layers.pairs: found 5; allowed: a list"),
        ("rotation: {data: 5}\n", "r.yaml:13: rotation.data: found 5; allowed: a list of sections"),
        ("lora: {rank: 1099511627776}\n", "r.yaml:13: lora.rank: found 1099511627776; allowed: a whole number"),
        ("batch: {max_length: 9223372036854775808}\n", "r.yaml:13: batch.max_length: found 9223372036854775808"),
        ("checkpoints: {every: 10000000000000000000}\n", "r.yaml:13: checkpoints.every: found 10000000000000000000"),
        (
            "optimizer: {weight_decay: 1e308}\n",
            "r.yaml:13: optimizer.weight_decay: found 1e+308; allowed: numbers up to 1e12; write",
        ),
        (
            "optimizer: {weight_decay: 2147483648, learning_rate: 0.01}\n",
            "r.yaml:13: optimizer.weight_decay: found 2.14748e+09 with learning_rate 0.01: each step would take",
        ),
        (
            "optimizer: {epsilon: 1e-320}\n",
            "r.yaml:13: optimizer.epsilon: found 9.99989e-321; allowed: numbers of at least",
        ),
        ("twins: [ff, plain, ff]\n", "r.yaml:13: twins[2]: found 'ff' again; allowed: each once; remove one"),
        ("trackers: [tensorboard, tensorboard]\n", "r.yaml:13: trackers[1]: found 'tensorboard' again"),
    ],
)
def test_a_value_without_meaning_is_a_fault_of_its_line(problems: Problems, add: str, said: str) -> None:
    (problem,) = problems(add=add)
    assert problem.startswith(said), problem


@pytest.mark.parametrize("objective", ["{kind: info_nce, temperature: 1e308}", "{kind: cosent, weight: 1e308}"])
def test_a_number_that_float32_does_not_know(problems: Problems, objective: str) -> None:
    found = problems(("{kind: info_nce, temperature: 5e-2}", objective))
    assert any("found 1e+308; allowed: numbers up to 1e12; write a smaller one" in line for line in found), found


def test_thousands_of_faults_are_a_short_report(problems: Problems) -> None:
    found = problems(add="".join(f"key{i}: 1\n" for i in range(5000)))
    assert len(found) == 101
    assert found[-1] == "r.yaml: there are more faults; mend these first"


def test_nobodys_home_is_a_name_like_any_other(problems: Problems) -> None:
    assert problems(add="folder: ~nosuch/x\n") == []
