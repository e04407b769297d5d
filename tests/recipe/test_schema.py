"""The recipe: what is allowed, what is filled in, and what identifies it."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from matryoshka_text.objectives.distill import Distill
from matryoshka_text.objectives.info_nce import InfoNCE
from matryoshka_text.recipe import (
    Base,
    Evaluation,
    HeldOut,
    Lora,
    Recipe,
    Source,
    Stopping,
    load_recipe,
)
from matryoshka_text.recipe.describe import allowed, sections_in
from matryoshka_text.recipe.wording import dotted, faults_of
from matryoshka_text.section import Section

Problems = Callable[..., list[str]]


def test_every_value_is_filled_in(tmp_path: Path, good: str) -> None:
    (tmp_path / "r.yaml").write_text(good)
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.dims == (12, 24, 48)
    assert recipe.data[0].columns.anchor == "premise"
    assert recipe.data[0].columns.negatives is None
    assert [objective.kind for objective in recipe.objectives] == ["distill", "info_nce"]
    assert recipe.objectives[1].temperature == 0.05
    assert (recipe.batch.size, recipe.optimizer.betas, recipe.seed) == (64, (0.9, 0.999), 0)
    assert (recipe.stopping.steps, recipe.stopping.epochs) == (120, None)
    assert recipe.lora is None
    assert recipe.evaluation is None
    assert recipe.folder == tmp_path


def test_frozen(tmp_path: Path, good: str) -> None:
    (tmp_path / "r.yaml").write_text(good)
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe(tmp_path / "r.yaml").seed = 1


def test_columns_are_read_from_their_own_names_unless_given() -> None:
    source = Source(name="a", file="a.jsonl", kind="triplets", columns={"anchor": "question"})
    assert source.columns.model_dump() == {"anchor": "question", "positive": "positive", "negatives": "negative"}
    held_out = HeldOut(name="a", hub="owner/name", kind="sts")
    assert held_out.columns.model_dump() == {"sentence1": "sentence1", "sentence2": "sentence2", "score": "score"}


def test_a_held_out_set_is_not_the_training_split_by_default() -> None:
    assert HeldOut(name="a", hub="owner/name", kind="sts").split == "validation"
    assert Source(name="a", hub="owner/name", kind="pairs").split == "train"
    assert Source(name="a", file="a.csv", kind="pairs").split is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "dims: [12, 24, 48]",
            "dims: [12, 24, 24]",
            "r.yaml:3: dims[2]: found 24, which is not above 24; allowed: strictly increasing whole numbers; "
            "remove one of the two",
        ),
        (
            "dims: [12, 24, 48]",
            "dims: [48, 24]",
            "r.yaml:3: dims[1]: found 24, which is not above 48; allowed: strictly increasing whole numbers; "
            "sort the list upwards",
        ),
        (
            "dims: [12, 24, 48]",
            "dims: [0, 24]",
            "r.yaml:3: dims[0]: found 0; allowed: a whole number of at least 1; change it, or remove it",
        ),
        (
            "dims: [12, 24, 48]",
            "dims: []",
            "r.yaml:3: dims: found []; allowed: a list, each item a whole number of at least 1 (not empty); "
            "write, for example, `dims: [12, 24, 48, 96, 192, 384]`",
        ),
        *(
            (
                "dims: [12, 24, 48]",
                f"dims: {given}",
                f"r.yaml:3: dims: found {told}; allowed: log or a list, each item a whole number of at least 1; "
                "write, for example, `dims: [12, 24, 48, 96, 192, 384]`",
            )
            for given, told in (("logs", "'logs'"), ("true", "true"), ("{a: 1}", "a section with a"), ("8", "8"))
        ),
        (
            "dims: [12, 24, 48]",
            "dims: [12, 24.5]",
            "r.yaml:3: dims[1]: found 24.5; allowed: a whole number of at least 1; change it, or remove it",
        ),
        (
            "stopping: {steps: 120}",
            "stopping: {}",
            "r.yaml:12: stopping: found neither steps nor epochs; allowed: exactly one of the two; "
            "write `steps: 1000` or `epochs: 1`",
        ),
        (
            "stopping: {steps: 120}",
            "stopping: {steps: 120, epochs: 1}",
            "r.yaml:12: stopping: found both steps and epochs; allowed: exactly one of the two; "
            "write `steps: 1000` or `epochs: 1`",
        ),
        (
            "stopping: {steps: 120}",
            "stopping: {steps: 120, patience: 3}",
            "r.yaml:12: stopping.patience: found 3 without evaluation; allowed: patience with an evaluation section; "
            "add one, or remove patience",
        ),
        (
            "    file: data/nli.jsonl.gz\n",
            "",
            "r.yaml:5: data[0]: found neither file nor hub; allowed: exactly one of the two; "
            "write `file: texts.jsonl.gz` or `hub: owner/name`",
        ),
        (
            "    file: data/nli.jsonl.gz\n",
            "    file: data/nli.jsonl.gz\n    hub: owner/name\n",
            "r.yaml:6: data[0].file: found both file and hub; allowed: exactly one of the two; remove one",
        ),
        (
            "    file: data/nli.jsonl.gz\n",
            "    file: data/nli.jsonl.gz\n    split: train\n",
            "r.yaml:7: data[0].split: found 'train' next to file; allowed: only next to hub; remove it",
        ),
        (
            "data/nli.jsonl.gz",
            "data/nli.txt",
            "r.yaml:6: data[0].file: found 'data/nli.txt' for kind 'pairs'; allowed: the path of a file ending in "
            ".jsonl, .jsonl.gz, .csv, .csv.gz, .parquet, .json, .json.gz, .tsv, .tsv.gz; "
            "for kind mined or text also .txt, .txt.gz; convert the file, or rename it to what it holds",
        ),
        (
            "file: data/nli.jsonl.gz",
            "hub: https://huggingface.co/a/b",
            "r.yaml:6: data[0].hub: found 'https://huggingface.co/a/b'; allowed: a data set's id on the hub, "
            "owner/name or name or null; leave it out for the default, null",
        ),
        (
            "positive: hypothesis}",
            "positive: hypothesis, negatives: no}",
            "r.yaml:8: data[0].columns.negatives: found a column for 'negatives', which kind 'pairs' does not have; "
            "allowed: anchor, positive; remove it, or change the kind",
        ),
        (
            "kind: pairs",
            "kind: pair",
            "r.yaml:7: data[0].kind: found 'pair'; allowed: pairs, triplets, nli, mined, text, "
            "labelled or scored; write `kind:` with one of these",
        ),
        (
            "{kind: distill}",
            "{kind: distil}",
            "r.yaml:10: objectives[0]: found 'distil'; allowed: kind distill, info_nce, self_distill, mlm, "
            "classify, cosent or score_distill; write `kind: distill`",
        ),
        (
            "{kind: distill}",
            "{kind: info_nce}",
            "r.yaml:11: objectives[1].kind: found 'info_nce' again (objectives[0] has it); allowed: each kind once; "
            "merge the two and add up their weights",
        ),
        (
            "temperature: 5e-2",
            "temperature: 0",
            "r.yaml:11: objectives[1].temperature: found 0; allowed: a number of at least 0.0001; "
            "leave it out for the default, 0.05",
        ),
        (
            "temperature: 5e-2",
            "temprature: 5e-2",
            "r.yaml:11: objectives[1].temprature: found an unknown key; allowed: kind, weight, temperature; "
            "did you mean 'temperature'?",
        ),
    ],
)
def test_each_mistake_is_told_with_place_found_allowed_and_way_out(
    problems: Problems, old: str, new: str, expected: str
) -> None:
    assert problems((old, new)) == [expected]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "weights: [1, 2]",
            "weights: found 2 weights for 3 dims; allowed: one a dim, or uniform, low or learned; write 3 n",
        ),
        ("weights: [1, 2, -1]", "weights[2]: found -1; allowed: a number above 0; "),
        *(
            (
                f"weights: {given}",
                f"weights: found {told}; allowed: uniform, low or learned, or a list, each item a number above 0; "
                "leave it out for the default, uniform",
            )
            for given, told in (("lo", "'lo'"), ("true", "true"), ("{a: 1}", "a section with a"), ("3", "3"))
        ),
        *(
            (
                f"layers: {given}",
                f"layers: found {told}; allowed: kind random or pairs, or null; write `kind: random`",
            )
            for given, told in (
                ("{}", "no kind"),
                ("{kind: x}", "'x'"),
                ("{kind: 1}", "1"),
                ("{kind: null}", "null"),
                ("{kind: [random]}", "['random']"),
            )
        ),
        (
            "batch: {size: 1}",
            "batch.size: found 1; allowed: a whole number of at least 2; leave it out for the default, 64",
        ),
        ('batch: {size: "64"}', "batch.size: found '64'; allowed: a whole number of at least 2; "),
        ("batch: {size: true}", "batch.size: found true; allowed: a whole number of at least 2; "),
        (
            "batch: {chunk: 8, tokens: 512}",
            "batch.tokens: found 512 next to batch.chunk 8; allowed: one of the two; leave `chunk` out",
        ),
        (
            "batch: {accumulate: 0}",
            "batch.accumulate: found 0; allowed: a whole number of at least 1; leave it out for the default, 1",
        ),
        ("optimizer: {learning_rate: .nan}", "optimizer.learning_rate: found nan; allowed: a number above 0; "),
        ("optimizer: {learning_rate: .inf}", "optimizer.learning_rate: found inf; allowed: a number above 0; "),
        ("optimizer: {warmup: 1}", "optimizer.warmup: found 1; allowed: a number of at least 0 and below 1; "),
        (
            "optimizer: {betas: [0.9]}",
            "optimizer.betas[1]: found nothing; allowed: a number of at least 0 and below 1; ",
        ),
        ("optimizer: 5", "optimizer: found 5; allowed: a section with kind, learning_rate, "),
        (
            "precision: fp16",
            "precision: found 'fp16'; allowed: auto, float32 or bf16; leave it out for the default, auto",
        ),
        ("seed: -1", "seed: found -1; allowed: a whole number of at least 0 and below 4294967296; "),
        (
            "lora: {target_modules: query}",
            "lora.target_modules: found 'query'; allowed: all-linear, or a list of module names; write `[query]`",
        ),
        (
            "lora: {target_modules: [a, a]}",
            "lora.target_modules: found ['a', 'a'], where a name occurs twice; allowed: different names; remove one",
        ),
        ("trackers: [wandb]", "trackers[0]: found 'wandb'; allowed: tensorboard; "),
        (
            "evaluation: {data: []}",
            "evaluation.every: found nothing; allowed: a whole number of at least 1; write, for",
        ),
        (
            "optimiser: {}",
            "optimiser: found an unknown key; allowed: name, base, dims, weights, dims_per_step, layers, data",
        ),
    ],
)
def test_each_mistake_in_an_added_line(problems: Problems, line: str, expected: str) -> None:
    found = problems(add=line + "\n")
    assert found[0].startswith(f"r.yaml:13: {expected}")


def several_kinds(section: type[Section] = Recipe) -> Iterator[tuple[str, FieldInfo]]:
    """Every key that takes one of several sections, told apart by their kind."""
    for name, field in section.model_fields.items():
        inner = list(sections_in(field.annotation))
        if len(inner) > 1:
            yield name, field
        for one in inner:
            yield from several_kinds(one)


@pytest.mark.parametrize(("name", "field"), list(several_kinds()))
@pytest.mark.parametrize("given", [{}, {"kind": "x"}, {"kind": 1}, {"kind": None}, {"kind": ["random"]}])
def test_a_kind_that_is_none_is_told_with_all_there_are(name: str, field: FieldInfo, given: dict[str, Any]) -> None:
    listed = allowed(field.annotation).startswith("a list")
    with pytest.raises(ValidationError) as error:
        Recipe.model_validate({name: [given] if listed else given})
    place = f"{name}[0]" if listed else name
    (text,) = (text for loc, text in faults_of(error.value, Recipe) if dotted(loc) == place)
    for section in sections_in(field.annotation):
        assert str(section.model_fields["kind"].annotation.__args__[0]) in text
    assert ("or null" in text) == (not listed)


def test_an_unknown_key_offers_the_closest_name(problems: Problems) -> None:
    assert problems(add="optimiser: {}\n")[0].endswith("; did you mean 'optimizer'?")
    assert problems(add="zzz: {}\n")[0].endswith("; remove it")


def test_names_of_sources_are_unique(problems: Problems) -> None:
    second = "    columns: {anchor: premise, positive: hypothesis}\n"
    found = problems((second, second + "  - {name: nli, file: b.csv, kind: pairs}\n"))
    assert found == [
        "r.yaml:9: data[1].name: found 'nli', which is also the name of data[0]; allowed: its own name; rename one"
    ]


def test_all_mistakes_are_told_at_once(problems: Problems) -> None:
    found = problems(
        ("name: good", "nam: good"),
        ("dims: [12, 24, 48]", "dims: [12, 12, 0]"),
        ("kind: pairs", "kind: pair"),
        ("steps: 120", "steps: 120, epochs: 3"),
        add="weights: [1]\nbatch: {size: 0}\nbatch: {}\n",
    )
    keys = [line.split(": ")[1] for line in found]
    assert keys == ["name", "nam", "dims[2]", "dims[1]", "dims[2]", "data[0].kind", "stopping", "weights",
                    "batch.size", "found the key 'batch' again (first in line 14); remove one of the two"]  # fmt: skip


def test_python_builds_the_same_recipe(tmp_path: Path, good: str) -> None:
    (tmp_path / "r.yaml").write_text(good)
    built = Recipe(
        name="good",
        base=Base(model="sentence-transformers/all-MiniLM-L6-v2"),
        dims=[12, 24, 48],
        data=[
            Source(
                name="nli",
                file="data/nli.jsonl.gz",
                kind="pairs",
                columns={"anchor": "premise", "positive": "hypothesis"},
            )
        ],
        objectives=[Distill(kind="distill"), InfoNCE(kind="info_nce")],
        stopping=Stopping(steps=120),
        folder=tmp_path,
    )
    assert built == load_recipe(tmp_path / "r.yaml")


def test_the_hash_is_the_same_everywhere(tmp_path: Path, good: str) -> None:
    hashes = set()
    for place in ("one", "two/three"):
        path = tmp_path / place / "r.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(good)
        hashes.add(load_recipe(path).hash8)
    # Pinned: a change of the schema or of a default changes what a recipe means, and every run folder's name with it.
    assert hashes == {"c8ab3fb4"}


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"dims": (12, 24)}, {"stopping": Stopping(steps=121)}, {"lora": Lora()}, {"name": "other"}]
)
def test_the_hash_changes_with_every_value(tmp_path: Path, good: str, change: dict[str, object]) -> None:
    (tmp_path / "r.yaml").write_text(good)
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.model_copy(update=change).hash8 != recipe.hash8


@pytest.mark.parametrize(
    "added",
    [
        "",
        "weights: [1, 0.5, 2]\nlora: {target_modules: [query, value]}\n",
        'trackers: [tensorboard]\nseed: 7\nbase: {model: "1e5", revision: "null"}\n',
        "evaluation: {every: 40, data: [{name: s, hub: a/b, kind: sts, rows: 5}]}\noptimizer: {learning_rate: 1e-30}\n",
    ],
)
def test_the_dump_loads_back_equal_from_another_folder(tmp_path: Path, good: str, added: str) -> None:
    kept = [line for line in good.splitlines() if "base:" not in line or "base:" not in added]
    (tmp_path / "r.yaml").write_text("\n".join(kept) + "\n" + added)
    recipe = load_recipe(tmp_path / "r.yaml")
    elsewhere = tmp_path / "runs" / "recipe.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(recipe.dump_yaml())
    again = load_recipe(elsewhere)
    assert again == recipe
    assert again.hash8 == recipe.hash8
    assert again.folder == tmp_path
    assert again.dump_yaml() == recipe.dump_yaml()


def random_recipe(rng: random.Random, folder: Path) -> Recipe:
    dims = sorted(rng.sample(range(1, 500), rng.randint(1, 6)))
    words = ["a", "no", "null", "5e-5", "1:30", "x: y", "# z", "é\u2028", "0x1", "true", "'", '"', "2024-01-01", " b "]
    sources = [
        Source(
            name=f"s{index}",
            file=rng.choice(["a.csv", "./b c.json.gz", "5e-5.jsonl"]),
            kind="triplets",
            columns={"anchor": rng.choice(words), "negatives": rng.sample(words, rng.randint(1, 3))},
            rows=rng.choice([None, 5]),
        )
        for index in range(rng.randint(1, 3))
    ]
    return Recipe(
        name="r",
        base=Base(model=rng.choice(words), revision=rng.choice([None, *words])),
        dims=dims,
        weights=rng.choice(["low", [rng.random() * 10 ** rng.randint(-12, 12) for _ in dims]]),
        data=sources,
        objectives=[InfoNCE(kind="info_nce", temperature=rng.random() + 1e-9)],
        stopping=Stopping(epochs=rng.randint(1, 5)),
        seed=rng.randrange(2**32),
        folder=folder,
    )


def test_any_recipe_survives_a_dump(tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(100):
        recipe = random_recipe(rng, tmp_path)
        (tmp_path / "r.yaml").write_text(recipe.dump_yaml(), encoding="utf-8")
        again = load_recipe(tmp_path / "r.yaml")
        assert again == recipe
        assert again.hash8 == recipe.hash8


PAIRS = "layers: {kind: pairs, pairs: %s}\n"
MLM = ("  - {kind: distill}\n", "  - {kind: mlm}\n")
TEXT = ("objectives:\n", "  - {name: t, file: t.txt, kind: text}\nobjectives:\n")


def test_pairs_of_a_layer_and_a_dim(problems: Problems) -> None:
    assert problems(add=PAIRS % "[[2, 12], [4, 24], [6, 48]]") == []
    assert problems(add=PAIRS % "[[2, 12], [3, 16], [4, 24], [6, 48]]") == [
        "r.yaml:13: layers.pairs[1]: found dim 16, which is not in dims; allowed: 12, 24, 48; add it to the dims"
    ]
    assert problems(add=PAIRS % "[[2, 12], [6, 24]]") == [
        "r.yaml:13: layers.pairs[1]: found dim 24 in the last pair; allowed: 48, the largest of dims, since the last "
        "pair is the full model; write 48 there, or add a pair of the last layer and 48"
    ]
    assert problems(add=PAIRS % "[[2, 24], [6, 48]]") == [
        "r.yaml:13: layers.pairs: found no pair at 12 of dims; allowed: a pair for each of 12, 24, 48, since no "
        "objective next to (mlm, classify) reads it; add pairs, or shorten dims"
    ]


def test_a_dim_in_no_pair_may_be_read_by_another_objective(problems: Problems) -> None:
    assert problems(MLM, TEXT, add=PAIRS % "[[2, 24], [6, 48]]") == []
    (problem,) = problems(MLM, TEXT, add=PAIRS % "[[2, 12], [6, 24]]")
    assert "found dim 24 in the last pair" in problem


@pytest.mark.parametrize("pairs", ["[[2, 24], [6, true]]", "[[2, 24], 6]", "[[a, 24], [6, 24]]", "5", "[]"])
def test_pairs_that_are_wrong_by_themselves_bring_no_fault_of_dims(problems: Problems, pairs: str) -> None:
    assert not any("full model" in line or "no pair" in line for line in problems(add=PAIRS % pairs))


def test_dims_in_a_wrong_order_bring_no_fault_of_pairs(problems: Problems) -> None:
    (problem,) = problems(("[12, 24, 48]", "[48, 24]"), add=PAIRS % "[[2, 24], [6, 48]]")
    assert problem.startswith("r.yaml:3: dims[1]: found 24, which is not above 48")


@pytest.mark.parametrize("drawn", ["nested_dropout", "one_and_full"])
def test_no_dims_are_drawn_beside_pairs(problems: Problems, drawn: str) -> None:
    assert problems(add=PAIRS % "[[2, 12], [4, 24], [6, 48]]" + f"dims_per_step: {drawn}\n") == [
        f"r.yaml:14: dims_per_step: found {drawn} with layers of kind pairs; allowed: all, since the pairs say which "
        "dim each layer is read at; leave it out"
    ]
    assert problems(add=f"layers: {{kind: random}}\ndims_per_step: {drawn}\n") == []


@pytest.mark.parametrize(("one", "two"), [("8", "4"), ("8", "null"), (None, "8")])
def test_objectives_on_one_stream_share_a_batch(problems: Problems, one: str | None, two: str) -> None:
    def written(*sizes: str | None) -> list[str]:
        given = [f", batch: {size}" if size else "" for size in sizes]
        scored = f"  - {{kind: cosent{given[0]}}}\n  - {{kind: score_distill{given[1]}}}\n"
        source = ("objectives:\n", "  - {name: s, file: s.csv, kind: scored}\nobjectives:\n")
        return problems(("stopping:", scored + "stopping:"), source)

    both = two if two != "null" else one
    assert written(one, two) == [
        f"r.yaml:14: objectives[3].batch: found {two}, and objectives[2], which reads the same batches, has "
        f"{one or 'null'}; allowed: one size for both; write `batch: {both}` in both, or leave it out in both"
    ]
    assert written("8", "8") == written(None, None) == written(None, "null") == []
    assert len(written("8", "x")) == 1


SELF = ("  - {kind: distill}\n", "  - {kind: self_distill}\n")
CONTRAST = "  - {kind: info_nce, temperature: 5e-2}\n"


def test_self_distillation_needs_another_objective(problems: Problems) -> None:
    assert problems(SELF) == []
    assert problems(SELF, add="twins: [ff]\n") == []
    assert problems(SELF, (CONTRAST, "")) == [
        "r.yaml:10: objectives[0].kind: found only self_distill, which moves no full width; allowed: "
        "together with another objective; add info_nce or distill"
    ]
    assert problems(SELF, TEXT, (CONTRAST, "  - {kind: mlm}\n")) == []


def test_evaluation_takes_several_sets_with_names_of_their_own() -> None:
    with pytest.raises(ValidationError, match=r"also the name of data\[0\]"):
        Evaluation(every=1, data=[HeldOut(name="a", file="a.csv", kind="sts")] * 2)
