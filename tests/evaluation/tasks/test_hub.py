"""The command that fetches data, as a shell reads it."""

import shlex

import pytest

from matryoshka_text.evaluation.tasks.hub import fetch_command, offline_note
from matryoshka_text.evaluation.tasks.names import open_suite, suite_of
from matryoshka_text.evaluation.tasks.planned import planned_tasks
from matryoshka_text.suite import Suite


def test_a_shell_reads_the_names_as_they_are() -> None:
    names = ["STS22.v2", "MTEB(eng, v2)", "./own suites/a.yaml", "$HOME/it's.yaml", "`x` y"]
    command = fetch_command([*names, "STS22.v2"])
    assert shlex.split(command) == ["mtext", "data", "fetch", *names, "--out", "DIR"]
    assert command.startswith('mtext data fetch STS22.v2 "MTEB(eng, v2)" ')


def note_of(suite: Suite) -> str | None:
    return offline_note(suite, [task.name for task in planned_tasks(suite) if getattr(task, "folder", None) is None])


def test_a_note_where_the_hub_is_not_to_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    benchmark, two = open_suite("MTEB(eng, v2)"), suite_of(["STS13", "STS22.v2"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert 'mtext data fetch "MTEB(eng, v2)" --out DIR' in str(note_of(benchmark))
    note = str(note_of(two))
    assert "2 tasks read the hub" in note and "mtext data fetch STS13 STS22.v2 --out DIR" in note
    assert note_of(open_suite("quick")) is None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert note_of(two) is None
