"""Data that cannot be loaded: the file, what was found and what is allowed, not what a library raised."""

import gzip
import json
import re
from pathlib import Path

import mteb
import pytest

from matryoshka_text.evaluation.mteb_compat import own_data_cache, quiet
from matryoshka_text.evaluation.tasks.loaded import LoadedTask
from matryoshka_text.evaluation.tasks.planned import PlannedTask, planned_tasks
from matryoshka_text.evaluation.tasks.unloadable import unloadable
from matryoshka_text.suite import Suite, TaskEntry

ROW = json.dumps({"sentence1": "a", "sentence2": "b", "score": 1.0}) + "\n"


def said_of(name: str, root: Path, files: dict[str, bytes]) -> str:
    folder = root / "mteb" / str(mteb.get_task(name).metadata.dataset["path"]).replace("/", "__")
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    (task,) = planned_tasks(Suite(name="x", tasks=(TaskEntry(task=name),)), root)
    assert isinstance(task, PlannedTask)
    with pytest.raises(Exception) as caught, quiet(), own_data_cache(task.fingerprint):
        LoadedTask(task.make)
    assert isinstance(caught.value, Exception)
    return unloadable(task, caught.value)


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        ("STSBenchmark", {"test.jsonl": b""}, r"/test\.jsonl: found no rows; allowed: at least"),
        ("STSBenchmark", {"test.jsonl": b"", "validation.jsonl": ROW.encode()}, r"/test\.jsonl: found no rows"),
        ("STSBenchmark", {"test.jsonl": b"\n\n"}, r"/test\.jsonl: found no rows; allowed: at least"),
        (
            "STSBenchmark",
            {"test.jsonl": ROW.encode() * 2 + b"{oops\n"},
            r"/test\.jsonl:3: found broken JSON \(.*\); allowed: one JSON object a line",
        ),
        ("STSBenchmark", {"test.jsonl": ROW.encode() + b'"\xff"\n'}, r"/test\.jsonl:2: found bytes that are not UTF-8"),
        ("STSBenchmark", {"test.jsonl.gz": b"no gzip"}, r"test\.jsonl\.gz: cannot be read .*allowed: a whole file"),
        ("STSBenchmark", {"test.jsonl.gz": gzip.compress(ROW.encode())[:-12]}, r"test\.jsonl\.gz: cannot be read"),
        (
            "STSBenchmark",
            {"test.csv": b"sentence1,sentence2,score\n"},
            r"/test\.csv: found no rows; allowed: at least one",
        ),
        (
            "STSBenchmark",
            {"test.parquet": b"no parquet"},
            r"/test\.parquet: is a broken parquet file .*; allowed: a",
        ),
        (
            "STSBenchmark",
            {"test.jsonl": ROW.encode(), "validation.jsonl": b'{"other": 1}\n'},
            r"stsbenchmark-sts: found files of one set with different columns: .*other.*; allowed: the same columns",
        ),
        (
            "SprintDuplicateQuestions",
            {"test.jsonl": ROW.encode(), "validation.jsonl": ROW.encode()},
            r"sprintduplicatequestions-pairclassification: lacks the column sent1; found: sentence1, sentence2, score",
        ),
    ],
)
def test_place_found_allowed_and_way_out(tmp_path: Path, name: str, files: dict[str, bytes], said: str) -> None:
    told = said_of(name, tmp_path, files)
    assert re.search(said, told), told
    assert told.startswith(f"{name}: {tmp_path}/mteb/")
    assert told.endswith(
        f"on a connected machine run mtext data fetch {name} --out DIR, then give DIR with --data-root"
    )
    assert "StopIteration" not in told and "An error occurred" not in told


def test_what_is_known_to_no_rule_is_told_with_its_causes() -> None:
    (task,) = planned_tasks(Suite(name="x", tasks=(TaskEntry(task="STS13"),)))
    outer = RuntimeError("outer\nsecond line")
    outer.__cause__ = KeyError("inner")
    told = unloadable(task, outer)
    assert "(RuntimeError: outer; because of KeyError: 'inner')" in told
    assert told.startswith(f"STS13: {task.data} cannot be loaded from the hub or its cache (")
    assert "mtext data fetch STS13 --out DIR" in told


def test_own_data_are_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "birds.jsonl").write_text(ROW)
    (task,) = planned_tasks(Suite(name="x", tasks=(TaskEntry(sts="birds"),)), tmp_path)
    told = unloadable(task, OSError("gone"))
    assert told.startswith(f"birds: {tmp_path}/birds.jsonl cannot be loaded (OSError: gone)")
    assert "mtext data" not in told
