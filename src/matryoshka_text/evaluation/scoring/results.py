"""Results in mteb's own layout, written by mteb's own classes, each file whole or not at all.

results/<org>__<name>/<revision>/<Task>.json for full width, and for prefixes, since mteb 2.11,
results/<org>__<name>/<revision>/experiments/embed_dim_<d>/<Task>.json (raw prefixes, as mteb's own runs give them) or
.../embed_dim_<d>__normalize_True/<Task>.json. The revision is the model's weights hash: two models never share a file.
"""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mteb import ResultCache, TaskResult
from mteb.models import ModelMeta
from mteb.models.model_meta import ScoringFunction

from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.mteb_compat import save_to_cache
from matryoshka_text.files import locked, write_whole
from matryoshka_text.vectors.views import View

__all__ = ["experiment_of", "holds", "model_meta", "result_path", "save_result"]

log = logging.getLogger(__name__)

_OF_EVERY_TASK = {"main_score", "hf_subset", "languages", "mteb_version"}


def experiment_of(
    subject: Subject, view: View, *, normalize: bool, marks: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """What sets a result apart from that of the model as it is (None): mteb's `experiment_kwargs`.

    A raw first-m prefix is mteb's own experiment, {"embed_dim": m}; `normalize` says that the vectors were brought to
    length 1 again, which mteb does not do, and which changes nothing at full width of a model that gives unit length.
    `marks`: digests of prompts and sample, if there are such.
    """
    same = subject.unit and view.whole(subject.width)
    found = {
        "embed_dim": None if view.dim == subject.width else view.dim,
        "normalize": True if normalize and not same else None,
        "reduction": None if view.method == "first" else view.method,
        "seed": view.seed,
        "rotation": None if view.rotation is None else view.rotation[:12],
        "precision": None if view.precision == "float32" else view.precision,
        "layers": subject.layers,
        **(marks or {}),
    }
    return {name: value for name, value in found.items() if value is not None} or None


def result_path(
    out: Path, subject: Subject, view: View, task: str, *, normalize: bool, marks: Mapping[str, str] | None = None
) -> Path:
    """The file below out/results that holds the task's result for that view."""
    identity = {
        "name": subject.name,
        "revision": subject.weights,
        "experiment_kwargs": experiment_of(subject, view, normalize=normalize, marks=marks),
    }
    return Path(ResultCache(out).get_task_result_path(task, ModelMeta.create_empty().model_copy(update=identity)))


def model_meta(
    subject: Subject, encoder: Any, view: View, *, normalize: bool, marks: Mapping[str, str] | None = None
) -> ModelMeta:
    """Mteb's record of the model as the view shows it."""
    similarity = "cosine" if normalize else subject.similarity
    return ModelMeta(
        loader=None,
        loader_kwargs={"origin": subject.origin},
        name=subject.name,
        revision=subject.weights,
        release_date=None,
        languages=None,
        n_parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        memory_usage_mb=None,
        max_tokens=encoder.max_seq_length,
        embed_dim=view.dim,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["Sentence Transformers"],
        similarity_fn_name=ScoringFunction.from_str(similarity),
        use_instructions=any((encoder.prompts or {}).values()),
        training_datasets=None,
        experiment_kwargs=experiment_of(subject, view, normalize=normalize, marks=marks),
    )


def save_result(out: Path, result: TaskResult, meta: ModelMeta, *, encode_kwargs: dict[str, Any]) -> Path:
    """The file the result was written to, below out/results. Scores of other splits of the same data are kept."""
    final = ResultCache(out).get_task_result_path(result.task_name, meta)
    # Another program may be adding another split.
    with locked(out / "results"), tempfile.TemporaryDirectory() as stage:
        staged = ResultCache(stage)
        path = staged.get_task_result_path(result.task_name, meta)
        path.parent.mkdir(parents=True)
        if (settings := final.parent / "run_settings.jsonl").exists():
            shutil.copy(settings, path.parent / settings.name)
        save_to_cache(staged, _with_other_splits(result, final), meta, encode_kwargs)
        # The result last: where it is, the files that describe it are.
        for file in sorted(path.parent.iterdir(), key=lambda one: one == path):
            write_whole(final.parent / file.name, file.read_bytes())
    return final


def _with_other_splits(result: TaskResult, final: Path) -> TaskResult:
    if not final.exists():
        return result
    try:
        before = TaskResult.from_disk(final)
    except (ValueError, OSError, KeyError) as error:
        log.warning("%s: replaced, it was no result of mteb (%s)", final, str(error).splitlines()[0])
        return result
    if before.dataset_revision != result.dataset_revision:
        log.warning("%s: replaced, it was scored on other data (%s)", final, before.dataset_revision[:12])
        return result
    ours, theirs = _metrics(result), _metrics(before)
    if ours and theirs and not ours & theirs:
        log.warning("%s: replaced, it was of another type of task (%s)", final, ", ".join(sorted(theirs)[:3]))
        return result
    return result.model_copy(update={"scores": {**before.scores, **result.scores}})


def _metrics(result: TaskResult) -> set[str]:
    """What was measured: two types of task that read the same data have no metric in common."""
    return {name for subsets in result.scores.values() for scores in subsets for name in scores} - _OF_EVERY_TASK


def holds(path: Path, scores: Mapping[str, float]) -> bool:
    """Whether the file is a result with these main scores x 100, by split; files have six digits of a score."""
    try:
        result = TaskResult.from_disk(path)
        return all(
            split in result.scores and abs(100 * float(result.get_score(splits=[split])) - score) <= 1e-3
            for split, score in scores.items()
        )
    except (ValueError, OSError, KeyError):
        return False
