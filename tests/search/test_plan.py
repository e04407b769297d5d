"""Plans: what they may be, what they cost, how they are stored."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from matryoshka_text.errors import RunError
from matryoshka_text.search import FUNNELS, Measured, Plan, Stage


def test_flops_as_the_paper_counts_them() -> None:
    rows = 1_281_167
    assert Plan.exact(2048).flops(rows) == rows * 2048  # 2,624 MFLOPs
    assert round(Plan.adaptive(16, 2048).flops(rows) / 1e6, 1) == 20.9
    assert round(Plan.adaptive(8, 2048).flops(rows) / 1e6, 1) == 10.7
    funnel = Plan.funnel((16, 32, 64, 128, 2048), FUNNELS["funnel 200"])
    assert [stage.keep for stage in funnel.stages] == [200, 100, 50, 25, None]
    assert funnel.flops(rows) == rows * 16 + 200 * 32 + 100 * 64 + 50 * 128 + 25 * 2048


def test_no_flops_where_the_work_depends_on_the_data() -> None:
    assert Plan(stages=(Stage(dim=8, keep=9, structure="hnsw", effort=9), Stage(dim=16))).flops(100) is None


def test_saved_and_opened(tmp_path: Path) -> None:
    measured = Measured(
        k=10, target=0.99, recall=0.993, low=0.99, high=0.996, queries=250, rows=1000, milliseconds=0.5,
        exact_milliseconds=6.55, threads=1, stand_ins=False,
    )  # fmt: skip
    first = Stage(dim=48, precision="int8", keep=180)
    plan = Plan(stages=(first, Stage(dim=384)), measured=measured)
    plan.save(tmp_path / "plan.json")
    assert Plan.open(tmp_path / "plan.json") == plan
    words = "48 dims int8, keep 180, then 384 dims: recall@10 0.993 (0.990 to 0.996), 0.50 ms a query, 13.1 times"
    assert str(plan).startswith(words)


@pytest.mark.parametrize(
    "stages",
    [
        [{"dim": 48}, {"dim": 384}],
        [{"dim": 48, "keep": 10}, {"dim": 24}],
        [{"dim": 48, "keep": 10}, {"dim": 96, "keep": 20}, {"dim": 384}],
        [{"dim": 48, "keep": 10}, {"dim": 384, "precision": "int8"}],
        [{"dim": 48, "keep": 10, "structure": "hnsw"}, {"dim": 384}],
        [{"dim": 48, "keep": 10, "effort": 3}, {"dim": 384}],
        [{"dim": 47, "keep": 10, "structure": "pq"}, {"dim": 384}],
        [{"dim": "48", "keep": 10}, {"dim": 384}],
        [{"dim": 48, "keep": True}, {"dim": 384}],
        [{"dim": 48, "keep": 10, "structure": "hnsw", "effort": 2**31}, {"dim": 384}],
        [],
    ],
)
def test_what_is_no_plan(stages: list[dict[str, object]], tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate({"stages": stages})
    (tmp_path / "plan.json").write_text('{"stages": 5}')
    with pytest.raises(RunError, match="cannot be read as a plan"):
        Plan.open(tmp_path / "plan.json")
