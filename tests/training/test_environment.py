import json
from pathlib import Path

import pytest
import torch

from matryoshka_text.errors import RunError
from matryoshka_text.training.environment import differences, environment, require_same_data, stored_environment


def _now(**changes: object) -> dict[str, object]:
    made = environment(
        heads={},
        runtime={"compile": False, "attention": None},
        device=torch.device("cpu"),
        processes=1,
        precision="float32",
        precision_reason="asked for",
        data={"data.nli": "sha256:1"},
        model={"name": "m", "origin": "package", "base": "1"},
    )
    return {**made, **changes}


def test_nothing_differs_from_itself() -> None:
    assert differences(_now(), _now()) == []
    require_same_data(_now(), _now(), Path("run"))


def test_what_changes_the_last_bits_is_named() -> None:
    stored = _now(threads=64, versions={**_now()["versions"], "torch": "1.0"})
    changed = differences(stored, _now())
    assert f"threads: 64 then, {torch.get_num_threads()} now" in changed
    assert any(line.startswith("torch: 1.0 then, ") for line in changed)


@pytest.mark.parametrize("kind", ["data", "model"])
def test_other_contents_end_the_resume(kind: str) -> None:
    stored = {"data": {"data.nli": "sha256:2"}, "model": {"name": "m", "base": "2"}}[kind]
    named = {"data": "data.nli", "model": "base"}[kind]
    with pytest.raises(RunError, match=f"run: the run began with other contents of {kind}: {named}"):
        require_same_data(_now(**{kind: stored}), _now(), Path("run"))


def test_the_same_bytes_from_another_place_are_the_same_model() -> None:
    stored = _now(model={"name": "elsewhere", "origin": "hub", "base": "1"})
    require_same_data(stored, _now(), Path("run"))


def test_other_code_is_named() -> None:
    assert any(line.startswith("commit: abc then, ") for line in differences(_now(commit="abc"), _now()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"precision": "half"}, "precision: Input should be 'float32' or 'bf16', found 'half'"),
        ({"threads": "two"}, "threads: Input should be a valid integer, found 'two'"),
        ({"versions": [1]}, r"versions: Input should be an object"),
        ({"data": {"data.nli": 5}}, r"data\.data\.nli: Input should be a valid string, found 5"),
        ({"model": "x"}, "model: Input should be an object"),
    ],
)
def test_a_record_that_was_changed_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "environment.json"
    path.write_text(json.dumps(_now(**change)))
    with pytest.raises(RunError, match=rf"environment\.json: cannot be read .*{said}.*put it back, or start again"):
        stored_environment(path)
    path.write_text(json.dumps(_now()))
    assert stored_environment(path).model_dump() == _now()
    path.write_text('{"precision": "bf16"}')  # what an older version wrote had fewer keys
    assert stored_environment(path).precision == "bf16"
