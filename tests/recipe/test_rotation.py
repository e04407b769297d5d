"""The section `rotation`, and what may stand beside it."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from matryoshka_text.build.rotation import fit_settings
from matryoshka_text.recipe import RotationSection, load_recipe, rotation_dims, twins_of
from matryoshka_text.recipe.table import readme
from matryoshka_text.rotation import FitSettings

Problems = Callable[..., list[str]]
ALONE = """\
name: alone
base: {model: sentence-transformers/all-MiniLM-L6-v2}
dims: [12, 24, 48]
rotation:
  data: [{name: texts, file: texts.txt, kind: text}]
"""


def test_the_defaults_are_those_of_the_fit() -> None:
    assert fit_settings(RotationSection(), seed=0) == FitSettings()


def test_every_setting_of_the_fit_is_a_key() -> None:
    assert {field.name for field in fields(FitSettings) if field.init} - {"seed"} <= set(RotationSection.model_fields)
    given = {"start": "pooled", "anchors": 5, "neighbours": 2, "temperature": 0.1, "steps": 7, "learning_rate": 1e-2}
    given |= {"warmup": 3, "check_every": 4}
    made = fit_settings(RotationSection.model_validate(given), seed=9)
    assert made == FitSettings(**given, seed=9)  # type: ignore[arg-type]


@pytest.mark.parametrize(("recipe", "expected"), [("two_d", "9d01f2f3"), ("mlm_and_nli", "91f64479")])
def test_recipes_that_do_not_use_the_later_keys_keep_their_hash(repo: Path, recipe: str, expected: str) -> None:
    assert load_recipe(repo / "recipes" / f"{recipe}.yaml").hash8 == expected


def test_later_keys_count_once_they_are_used(tmp_path: Path, good: str) -> None:
    hashes = set()
    for number, (old, new) in enumerate(
        [
            ("", ""),
            ("{kind: distill}", "{kind: distill, vector_weight: 1.0}"),
            ("stopping:", "averaging: {}\nstopping:"),
            ("stopping:", "rotation: {}\nstopping:"),
            ("stopping:", "rotation: {frozen: true}\nstopping:"),
        ]
    ):
        path = tmp_path / f"{number}.yaml"
        path.write_text(good.replace(old, new, 1))
        hashes.add(load_recipe(path).hash8)
    assert len(hashes) == 5


def test_a_rotation_needs_no_objectives_and_is_read_back(problems: Problems, tmp_path: Path) -> None:
    assert problems(text=ALONE) == []
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.rotation is not None and recipe.rotation.texts == 20_000
    (tmp_path / "again.yaml").write_text(recipe.dump_yaml())
    assert load_recipe(tmp_path / "again.yaml") == recipe


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "twins: [ff]",
            "twins: found ['ff'], which only objectives read, and the recipe has none; allowed: []; ",
        ),
        ("lora: {}", "lora: found a section with rank, alpha, "),
        ("stopping: {steps: 3}", "stopping: found a section with steps, epochs, patience, which only objectives read"),
        ("averaging: {}", "averaging: found a section with start, every, base_share, which only objectives read"),
        ("layers: {kind: random}", "layers: found a section with kind, "),
        ("weights: low", "weights: found 'low', which only objectives read"),
        ("dims_per_step: nested_dropout", "dims_per_step: found 'nested_dropout', which only objectives read"),
        ("stream_shares: {pairs: 1.0}", "stream_shares: found a section with pairs"),
        (
            "evaluation: {every: 5, data: [{name: a, file: a.csv, kind: sts}]}",
            "evaluation: found a section with every, select, data, which only objectives read",
        ),
        (
            "data: [{name: a, file: a.csv, kind: pairs}]",
            "data: found data, which nothing reads: there are no objectives, and the rotation has its own; ",
        ),
    ],
)
def test_what_only_objectives_read_is_told(problems: Problems, line: str, expected: str) -> None:
    (found,) = problems(text=ALONE, add=line + "\n")
    assert found.startswith(f"r.yaml:6: {expected}")


@pytest.mark.parametrize("line", ["batch: {size: 3}", "trackers: [tensorboard]", "precision: bf16", "optimizer: {}"])
def test_what_does_no_harm_may_stand(problems: Problems, line: str) -> None:
    assert problems(text=ALONE, add=line + "\n") == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("kind: text", "kind: mined"),
            "r.yaml:5: rotation.data[0].kind: found mined, but a rotation needs no pairs",
        ),
        (
            ("texts.txt, kind: text", "a.csv, vectors: v.safetensors, kind: pairs"),
            "r.yaml:5: rotation.data[0].vectors: found 'v.safetensors', but a rotation reads the base's own vectors; ",
        ),
        (("  data:", "  dims: [8, 8]\n  data:"), "r.yaml:5: rotation.dims[1]: found 8, which is not above 8; "),
        (
            ("  data:", "  held_back: 1\n  data:"),
            "r.yaml:5: rotation.held_back: found 1; allowed: a number of at ",
        ),
        (
            ("  data: [{name: texts, file: texts.txt, kind: text}]", "  steps: 3"),
            "r.yaml:4: rotation.data: found null, and the recipe has no `data` to take its place; ",
        ),
    ],
)
def test_mistakes_in_the_section(problems: Problems, change: tuple[str, str], expected: str) -> None:
    (found,) = problems(change, text=ALONE)
    assert found.startswith(expected)


def test_neither_rotation_nor_objectives(problems: Problems) -> None:
    found = problems(text="name: x\nbase: {model: a/b}\ndims: [4]\n")
    assert [line.split(": ")[1] for line in found] == ["objectives", "data", "stopping"]
    assert found[0].endswith(
        "found nothing, and no rotation; allowed: a list of sections, or a recipe with `rotation`; "
        "write, for example, `objectives: [{kind: info_nce}]`"
    )


def test_what_does_not_go_together(problems: Problems) -> None:
    (found,) = problems(add="averaging: {base_share: 0.5}\nlora: {}\n")
    assert "averaging.base_share: found 0.5 with lora" in found
    text = ALONE.replace("data:", "texts: 100\n  data:") + "data: [{name: t, file: t.txt, kind: text}]\n"
    (found,) = problems(text=text, add="objectives: [{kind: mlm, cut: hidden}]\nstopping: {steps: 1}\n")
    assert "objectives[0].cut: found hidden next to a rotation" in found


def test_the_table_has_a_row_for_a_rotation_alone(tmp_path: Path) -> None:
    (tmp_path / "alone.yaml").write_text(ALONE)
    page = readme(tmp_path)
    assert "| 12, 24, 48 | rotation | texts |  | 400 steps of the rotation |" in page
    assert "### `rotation`" in page and "### `rotation.data`" in page


def test_twins_keep_the_rotation_of_the_run_that_they_belong_to(tmp_path: Path, good: str) -> None:
    (tmp_path / "r.yaml").write_text(good + "rotation: {steps: 5}\ntwins: [ff, plain]\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    for _, twin in twins_of(recipe, width=384, full=384, steps=7):
        assert twin.rotation is not None and twin.rotation.dims == (12, 24, 48) and len(twin.lengths) == 1


def test_the_dims_of_a_rotation_are_those_below_the_width() -> None:
    assert rotation_dims(RotationSection(), (4, 8, 32), 32) == (4, 8)
    assert rotation_dims(RotationSection(dims=(2, 40)), (4, 8, 32), 32) == (2,)
