"""`mtext data fetch`, as far as it goes without a hub; downloads: tests/evaluation/tasks/test_fetch.py."""

from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from matryoshka_text import fetch as fetching
from matryoshka_text.cli.data import data
from matryoshka_text.errors import DataError, RecipeError
from matryoshka_text.evaluation.tasks.hub import Wanted
from matryoshka_text.fetch import Fetched


def test_offline_every_data_set_is_named_with_the_way_out(tmp_path: Path) -> None:
    done = CliRunner().invoke(data, ["fetch", "sts_validation", "--out", str(tmp_path)])
    assert isinstance(done.exception, DataError)
    lines = str(done.exception).splitlines()
    assert lines[0] == f"1 of 1 data sets were not to be had; the others are in {tmp_path}. Failed:"
    assert lines[1].startswith("  mteb/stsbenchmark-sts @ ")
    assert "(STSBenchmark): HF_HUB_OFFLINE is set" in lines[1]


def test_a_suite_without_data_of_the_hub(tmp_path: Path) -> None:
    done = CliRunner().invoke(data, ["fetch", "mlm", "--out", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, "suite mlm: no task reads a data set of the hub; nothing to fetch\n")


def test_several_names_are_one_list_of_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Wanted] = []

    def fake(wanted: tuple[Wanted, ...], out: Path, **rest: object) -> tuple[Fetched, ...]:
        asked.extend(wanted)
        return tuple(Fetched(one, out / "mteb", "fetched") for one in wanted)

    monkeypatch.setattr(fetching, "fetch", fake)
    names = ["STS13", "STSBenchmark", "sts_validation", "MTEB(eng, v2)", "STS13"]
    done = CliRunner().invoke(data, ["fetch", *names, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    repos = [one.repo for one in asked]
    assert repos[:2] == ["mteb/sts13-sts", "mteb/stsbenchmark-sts"]
    assert len(repos) == len(set(repos)) > 35


def test_all_unknown_names_are_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(data, ["fetch", "quik", "STS13", "STSBenchmrk", "--out", str(tmp_path)])
    assert isinstance(done.exception, RecipeError)
    first, second = str(done.exception).splitlines()
    assert first.startswith("unknown suite 'quik'; did you mean quick") and "'STSBenchmrk'" in second


def test_a_dry_run_of_eval_offline_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from matryoshka_text.cli.eval import evaluate

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("MTEXT_DATA_ROOT", raising=False)
    for options, command in (
        ({"task": ["MTEB(eng, v2)"]}, '"MTEB(eng, v2)"'),
        ({"task": ["STS13", "STS22.v2"]}, "STS13 STS22.v2"),
        ({"suite": "sts"}, "sts"),
    ):
        evaluate(dry_run=True, **options)  # type: ignore[arg-type]
        said = capsys.readouterr().out
        assert f"mtext data fetch {command} --out DIR; then give DIR with --data-root" in said
    evaluate(dry_run=True, suite="quick")
    assert "mtext data fetch" not in capsys.readouterr().out


def test_success_says_how_to_use_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(wanted: tuple[Wanted, ...], out: Path, **rest: object) -> tuple[Fetched, ...]:
        return tuple(Fetched(one, out / "mteb", "fetched") for one in wanted)

    monkeypatch.setattr(fetching, "fetch", fake)
    done = CliRunner().invoke(data, ["fetch", "sts", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert done.output.endswith(f"use them with --data-root {tmp_path}\n")
