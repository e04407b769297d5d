"""What a submission has to stand: mteb reads every score back, loads the model, runs it, and repeats a score."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mteb
from mteb import ResultCache
from mteb.mocks.mock_run import MockRunResults, mock_run
from mteb.models import ModelMeta

from matryoshka_text.encoder.reread import without_reports
from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.mteb_compat import own_data_cache, quiet, registered
from matryoshka_text.evaluation.scoring.score import load_task
from matryoshka_text.evaluation.tasks.planned import PlannedTask

__all__ = ["Cell", "loaded_by_mteb", "require_mock_run", "require_readable_by_mteb", "require_repeated"]

# (task, split, dim); dim None: full width.
Cell = tuple[str, str, int | None]

# Points: mteb's files have six digits after the point of 0 to 1.
ROUNDING = 1e-4
# Points. Machines and devices differ in the last bits; other prefixes, prompts or lengths differ by far more.
TOLERANCE = 0.05


def require_readable_by_mteb(folder: Path, meta: ModelMeta, scores: Mapping[Cell, float]) -> None:
    """`EvaluationError` if mteb does not read exactly these main scores (x 100) of the model from the folder."""
    # Not to_dataframe: it takes the mean over dims.
    loaded = ResultCache(folder).load_results(load_experiments="match_name", include_remote=False)
    found: dict[Cell, float] = {}
    for model in loaded.model_results:
        if (model.model_name, model.model_revision) != (meta.name, meta.revision):
            raise EvaluationError(f"{folder}: mteb reads results of {model.model_name} at {model.model_revision}")
        dim = int(model.experiment_name.removeprefix("embed_dim_")) if model.experiment_name else None
        for result in model.task_results:
            found |= {
                (result.task_name, split, dim): 100 * float(result.get_score(splits=[split])) for split in result.scores
            }
    wrong = [
        cell for cell in found.keys() | scores.keys() if abs(found.get(cell, 1e9) - scores.get(cell, -1e9)) > ROUNDING
    ]
    if wrong:
        task, split, dim = sorted(wrong, key=str)[0]
        raise EvaluationError(
            f"{folder}: of {len(scores)} scores mteb reads {len(wrong)} otherwise, such as {task}, {split}, "
            f"{dim or 'full'} dims: {found.get((task, split, dim))} for {scores.get((task, split, dim))}; evaluate "
            "into a new --out: the result files there are not those of these rows"
        )


def require_mock_run(meta: ModelMeta) -> MockRunResults:
    """What mteb's `mock-run` says of the model; `EvaluationError` if a task fails."""
    results = mock_run(loaded_by_mteb(meta, None))
    if not results.all_passed:
        failed = [name for name, status in results.items() if getattr(status, "exception", None)]
        first = results[failed[0]]
        raise EvaluationError(
            f"{meta.name}: mteb's mock-run fails on {', '.join(failed)}: "
            f"{getattr(first, 'exception', '')[:300]}; mteb would refuse the model"
        )
    return results


def require_repeated(meta: ModelMeta, task: PlannedTask, scores: Mapping[Cell, float], dim: int | None) -> float:
    """The greatest difference, in points, to the task's scores when mteb runs it with `get_model(name, embed_dim=dim)`.

    `EvaluationError` if it is more than 0.05.
    """
    loaded = load_task(task)
    with quiet(), own_data_cache(task.fingerprint):
        result = mteb.evaluate(
            loaded_by_mteb(meta, dim), loaded.fresh(), cache=None, co2_tracker=False, show_progress_bar=False
        )
    found = result.task_results[0]
    apart = 0.0
    for split in found.scores:
        score, expected = 100 * float(found.get_score(splits=[split])), scores[task.name, split, dim]
        if abs(score - expected) > TOLERANCE:
            raise EvaluationError(
                f"{meta.name}: {task.name}, {split}, {dim or 'full'} dims: {expected:.3f} was scored, and mteb's own "
                f"get_model gives {score:.3f}; its loader encodes otherwise (prompts, length, another default width)"
            )
        apart = max(apart, abs(score - expected))
    return apart


def loaded_by_mteb(meta: ModelMeta, dim: int | None) -> Any:
    """The model as mteb loads it by name once the entry is registered."""
    asked = {} if dim is None else {"embed_dim": dim}
    with registered(meta), without_reports():
        return mteb.get_model(str(meta.name), **asked)
