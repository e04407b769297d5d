"""all-MiniLM-L6-v2 on STS-B: the published score, the measured truncations, and mteb's own way to them."""

from pathlib import Path

import pytest

from matryoshka_text.evaluation import Evaluation, evaluate
from matryoshka_text.suite import Suite, TaskEntry

TRUNCATED = {8: 62.46, 12: 67.74, 16: 72.02, 24: 75.18, 32: 76.67, 48: 78.43, 64: 79.21, 96: 80.26, 128: 80.68}
TRUNCATED |= {192: 81.53, 256: 81.89, 384: 82.03}


@pytest.fixture(scope="module")
def measured(data_root: Path, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    suite = Suite(name="stsb", tasks=(TaskEntry(task="STSBenchmark"),))
    out = tmp_path_factory.mktemp("published")
    return evaluate(minilm, suite, dims=tuple(TRUNCATED), data_root=data_root, out=out, device="cpu")


def test_scores_at_every_dim_are_the_known_ones(measured: Evaluation) -> None:
    found = {dim: measured.score("STSBenchmark", dim) for dim in TRUNCATED}
    assert found == pytest.approx(TRUNCATED, abs=0.05)
    assert found[384] == pytest.approx(82.03, abs=0.01)


def test_mteb_alone_gives_the_same(measured: Evaluation, minilm: Path) -> None:
    import mteb
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm), truncate_dim=48, device="cpu")
    task = measured.plan.tasks[0].make()
    theirs = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False).task_results[0]
    assert measured.score("STSBenchmark", 48) == pytest.approx(100 * theirs.get_score(), abs=1e-3)
