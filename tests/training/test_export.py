"""The exported model depends on the recipe and the weights, and on nothing that ran before."""

import shutil
from collections.abc import Callable
from pathlib import Path

from matryoshka_text.fingerprint import weights_hash
from matryoshka_text.training import train


def test_a_model_written_after_a_resume_is_the_same_in_every_file(
    write_recipe: Callable[..., Path], tmp_path: Path, rows_file: Path, tiny_model: Path
) -> None:
    held_out = {"name": "held", "file": str(rows_file), "kind": "pairs", "rows": 20}
    run = train(write_recipe(evaluation={"every": 4, "data": [held_out]}), out=tmp_path / "run")
    shutil.copytree(run.model, tmp_path / "before")
    # As a kill between the last checkpoint and the model leaves it: nothing is evaluated any more.
    shutil.rmtree(run.model)
    train(tmp_path / "run" / "recipe.yaml", resume=True)
    before, after = (
        {file.relative_to(home).as_posix(): file.read_bytes() for file in home.rglob("*") if file.is_file()}
        for home in (tmp_path / "before", run.model)
    )
    assert before == after
    assert weights_hash(tmp_path / "before") == weights_hash(run.model)
    assert before["tokenizer.json"] == (tiny_model / "tokenizer.json").read_bytes()
