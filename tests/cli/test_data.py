"""`mtext data fetch`, as far as it goes without a hub; downloads: tests/evaluation/test_fetch.py."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from matryoshka_text.cli.data import data
from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks import fetch as fetching
from matryoshka_text.evaluation.tasks.fetch import Fetched
from matryoshka_text.evaluation.tasks.wanted import Wanted


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


def test_success_says_how_to_use_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(wanted: tuple[Wanted, ...], out: Path, **rest: object) -> tuple[Fetched, ...]:
        return tuple(Fetched(one, out / "mteb", "fetched") for one in wanted)

    monkeypatch.setattr(fetching, "fetch", fake)
    done = CliRunner().invoke(data, ["fetch", "sts", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert done.output.endswith(f"use them with --data-root {tmp_path}\n")
