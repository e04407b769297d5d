"""A key holds everything that changes the value: another ingredient is a miss, what does not matter is a hit."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mteb
import pytest
from sentence_transformers import SentenceTransformer

from matryoshka_text.evaluation import evaluate, settings
from matryoshka_text.evaluation.models import open_subject
from matryoshka_text.evaluation.plan import Plan, plan_evaluation
from matryoshka_text.evaluation.resume import KeptRows
from matryoshka_text.evaluation.scoring import score
from matryoshka_text.evaluation.scoring.score import Scorer
from matryoshka_text.evaluation.settings import Settings, versions
from matryoshka_text.evaluation.tasks.sample import Sample, read_sample
from matryoshka_text.rows import read_rows
from matryoshka_text.suite import Suite, TaskEntry
from tests.builders import twin_of
from tests.evaluation.conftest import WORDS, write_lines

TEXT = "cat dog bank card money street"


def edited(file: str, **changes: Any) -> Callable[[Path], object]:
    """Writes these keys into a JSON file of a model's folder."""
    return lambda model: (model / file).write_text(json.dumps({**json.loads((model / file).read_text()), **changes}))


def other_weights(model: Path) -> None:
    """Weights that are moved a little."""
    twin_of(model, model.parent / "twin", 1)
    shutil.copy(model.parent / "twin/model.safetensors", model)


def without_normalize(model: Path) -> None:
    """Vectors of any length, as a model that is compared by distance has them."""
    (model / "modules.json").write_text(json.dumps(json.loads((model / "modules.json").read_text())[:2]))


@pytest.fixture
def variant(tiny_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """variant(change, …): a copy of the tiny model, changed so; always called the same."""
    made: list[Path] = []

    def make(*changes: Callable[[Path], object]) -> Path:
        made.append(tmp_path / str(len(made)) / "tiny/model")
        shutil.copytree(tiny_model, made[-1])
        for change in changes:
            change(made[-1])
        return made[-1]

    return make


NAMES = "weights query_length document_length max_length limit pooling prompt's_place config modules".split()


class TestVectors:
    @pytest.fixture
    def encoded(self, tmp_path: Path) -> Callable[..., int]:
        """encoded(model): how many of one text had to be encoded."""

        def read(model: Path, *, role: str = "", prompt: str | None = None, layers: int = 2, **how: Any) -> int:
            subject = open_subject(str(model)).with_layers(layers)
            given = Settings(tmp_path / "out", tmp_path / "vectors", normalize=True, device="cpu", **how)
            scorer = Scorer(SimpleNamespace(name="task"), None, subject, subject.encoder("cpu"), given, lambda: None)  # type: ignore[arg-type]
            scorer.planned = SimpleNamespace(name="task")  # type: ignore[assignment]
            scorer._require_vocabulary = lambda texts: None  # type: ignore[method-assign]
            scorer.reader.read([TEXT], role=role, prompt=prompt, dim=8)
            return scorer.reader.counts.encoded

        return read

    @pytest.mark.parametrize(
        "change",
        [
            other_weights,
            edited("sentence_bert_config.json", query_length=4),
            edited("sentence_bert_config.json", document_length=4),
            edited("sentence_bert_config.json", processing_kwargs={"text": {"max_length": 5}}),
            edited("tokenizer_config.json", model_max_length=6),
            edited("1_Pooling/config.json", pooling_mode="cls"),
            edited("1_Pooling/config.json", include_prompt=False),
            edited("config.json", layer_norm_eps=0.1),
            without_normalize,
        ],
        ids=NAMES,
    )
    def test_another_model_is_a_miss(
        self, change: Callable[[Path], object], variant: Callable[..., Path], encoded: Callable[..., int]
    ) -> None:
        model = variant()
        assert (encoded(model), encoded(model)) == (1, 0)
        assert (encoded(variant(change)), encoded(variant()), encoded(model)) == (1, 0, 0)

    def test_another_way_of_encoding_is_a_miss(
        self, variant: Callable[..., Path], encoded: Callable[..., int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = variant()
        ways: list[dict[str, Any]] = [{}, {"prompt": "q: "}, {"layers": 1}, {"dtype": "bf16"}]
        assert [encoded(model, **way) for way in ways * 2] == [1, 1, 1, 1, 0, 0, 0, 0]
        for library in ("torch", "transformers", "sentence-transformers"):
            monkeypatch.setattr(score, "versions", lambda library=library: {library: "other"})
            assert encoded(model) == 1

    def test_what_changes_no_vector_is_a_hit(
        self, variant: Callable[..., Path], encoded: Callable[..., int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, card = variant(), variant(lambda model: (model / "README.md").write_text("another card"))
        assert encoded(model) == 1
        kept = score.versions()
        monkeypatch.setattr(score, "versions", lambda: {**kept, "mteb": "9", "matryoshka-text": "9"})
        ways: list[dict[str, Any]] = [{"prompt": ""}, {"batch_size": 1}, {"seed": 5}, {"prompts": {"query": "q: "}}]
        ways += [{"role": "query"}, {"role": "document"}]
        assert [encoded(model, **way) for way in ways] == [0] * len(ways)
        assert encoded(card) == 0

    def test_roles_are_apart_if_the_model_tells_them_apart(
        self, variant: Callable[..., Path], encoded: Callable[..., int]
    ) -> None:
        model = variant(edited("sentence_bert_config.json", query_length=4))
        roles = ["query", "document", "", "query", "document", ""]
        assert [encoded(model, role=role) for role in roles] == [1, 1, 1, 0, 0, 0]


class TestScores:
    SUITE = Suite(name="small", tasks=(TaskEntry(task="STSBenchmark"),), dims=(8,), precisions=("float32", "int8"))

    @pytest.fixture
    def look(self, small_data: Path, tiny_model: Path, tmp_path: Path) -> Callable[..., bool]:
        """look(…): whether the scores of one evaluation are taken for these of another plan and other settings."""
        evaluate(tiny_model, self.SUITE, data_root=small_data, out=tmp_path / "out", device="cpu")
        rows = read_rows(tmp_path / "out/rows.jsonl")

        def finished(model: Path = tiny_model, suite: Suite = self.SUITE, **how: Any) -> bool:
            planned, sample = plan_evaluation(model, suite, data_root=small_data), how.pop("sample", None)
            task = replace(planned.tasks[0], **how.pop("task", {}))
            subject = replace(planned.subjects[0], **how.pop("subject", {}))
            given = Settings(tmp_path / "out", tmp_path / "out/vectors", normalize=suite.normalize, device="cpu")
            given = replace(given, prompts=suite.prompts, seed=suite.seed, **how)
            kept = KeptRows(planned, given, rows, lambda: sample or read_sample(suite))
            return kept.finished(task, subject) is not None

        return finished

    def test_each_ingredient_is_in_the_key(
        self, look: Callable[..., bool], other_model: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert look()
        assert look(batch_size=3) and look(subject={"label": "other"}) and look(subject={"path": Path("elsewhere")})
        assert not look(other_model)
        for name, other in {"type": "X", "metric": "x", "name": "X", "data": "x", "split": "validation"}.items():
            assert not look(task={name: other}), name
        for subject in ({"layers": 1}, {"weights": "a" * 64}, {"name": "org/other"}):
            assert not look(subject=subject), subject
        for suite in ({"prompts": {"query": "q: "}}, {"seed": 1}, {"normalize": False}):
            assert not look(suite=self.SUITE.model_copy(update=suite)), suite
        assert not look(sample=Sample(("one", "two"), "elsewhere"))
        assert not look(dtype="bf16") and not look(device="cuda")
        for library in ("mteb", "torch", "transformers", "sentence-transformers"):
            with monkeypatch.context() as patch:
                patch.setattr(settings, "versions", lambda library=library: {**versions(), library: "other"})
                assert not look(), library
        with (small_data / "mteb/mteb__stsbenchmark-sts/test.jsonl.gz").open("ab") as file:
            file.write(b"\n")
        assert not look()

    def test_a_similarity_that_was_once_scored_as_cosine_is_scored_anew(self, look: Callable[..., bool]) -> None:
        assert look(subject={"similarity": "euclidean"})  # prefixes of length 1 are compared by their cosine
        raw = self.SUITE.model_copy(update={"normalize": False})
        given = Settings(Path(), Path(), normalize=False)
        assert not look(suite=raw)
        digests = [given.digest(similarity=name) for name in ("cosine", "dot", "euclidean", "manhattan")]
        assert len(set(digests)) == 3 and digests[0] == digests[1]


def test_one_name_for_two_types_of_task_is_scored_twice(tiny_model: Path, small_data: Path, tmp_path: Path) -> None:
    rows = [{"text": f"{WORDS[k]} {WORDS[n]}", "label": WORDS[k]} for k in range(4) for n in range(16)]
    for split in ("train", "test"):
        write_lines(small_data / f"extra/topics/{split}.jsonl", rows)

    def scored(kind: str, out: str) -> Any:
        suite = Suite(name="own", tasks=(TaskEntry.model_validate({kind: "topics"}),), dims=(8,))
        found = evaluate(tiny_model, suite, data_root=small_data, out=tmp_path / out, device="cpu")
        return [(row.type, row.metric, row.score) for row in found.rows]

    first = scored("classification", "out")
    second = scored("clustering", "out")
    assert {one[:2] for one in first} == {("Classification", "accuracy")}
    assert {one[:2] for one in second} == {("Clustering", "v_measure")}
    assert second == scored("clustering", "fresh")
    assert scored("classification", "out") == first


def by_mteb(model: Path, planned: Plan, dim: int) -> float:
    (task,) = planned.tasks
    own = SentenceTransformer(str(model), device="cpu", truncate_dim=dim)
    found = mteb.evaluate(own, task.make(), cache=None, co2_tracker=False, show_progress_bar=False)  # type: ignore[union-attr]
    return 100 * float(found.task_results[0].get_score())


PETS = Suite(name="own", tasks=(TaskEntry(retrieval="pets"),), dims=(8,))


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_raw_prefixes_are_compared_as_the_model_says(
    similarity: str, variant: Callable[..., Path], small_data: Path, tmp_path: Path
) -> None:
    model = variant(edited("config_sentence_transformers.json", similarity_fn_name=similarity), without_normalize)
    found = evaluate(model, PETS, data_root=small_data, out=tmp_path / "out", device="cpu", raw_prefix=True)
    for dim in (8, 32):
        assert found.score("pets", dim) == pytest.approx(by_mteb(model, found.plan, dim), abs=1e-4)
    suite = Suite(name="pairs", tasks=(TaskEntry(task="STSBenchmark"),), dims=(8,))
    pairs = evaluate(model, suite, data_root=small_data, out=tmp_path / "out", device="cpu", raw_prefix=True)
    assert len(pairs.rows) == 2


def test_a_document_that_equals_a_query_has_its_own_vector(
    variant: Callable[..., Path], small_data: Path, tmp_path: Path
) -> None:
    queries = [json.loads(line) for line in (small_data / "extra/pets/queries.jsonl").read_text().splitlines()]
    # The documents are the queries and a few more words: cut at four tokens, all of a query's words are the same.
    documents = [{"_id": f"d{2 * n}", "text": one["text"]} for n, one in enumerate(queries)]
    (small_data / "extra/pets/corpus.jsonl.gz").unlink()
    write_lines(small_data / "extra/pets/corpus.jsonl", documents)
    model = variant(edited("sentence_bert_config.json", query_length=4))
    found = evaluate(model, PETS, data_root=small_data, out=tmp_path / "out", device="cpu", raw_prefix=True)
    assert found.score("pets", 32) == pytest.approx(by_mteb(model, found.plan, 32), abs=1e-4)
