"""One model on one task: load, encode once, score every dim from the stored vectors."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mteb
from threadpoolctl import threadpool_limits

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.adapter import StoredEncoder, mteb_prompts
from matryoshka_text.evaluation.check import require_readable
from matryoshka_text.evaluation.planned import PlannedTask
from matryoshka_text.evaluation.quiet import quiet
from matryoshka_text.evaluation.reader import TextReader
from matryoshka_text.evaluation.results import model_meta, save_result
from matryoshka_text.evaluation.stage import Settings, Stage, versions
from matryoshka_text.evaluation.store import VectorStore
from matryoshka_text.evaluation.subject import Subject
from matryoshka_text.evaluation.tasks import LoadedTask, own_data_cache
from matryoshka_text.files import write_whole
from matryoshka_text.rows import Row

__all__ = ["load_task", "score_task"]


def load_task(planned: PlannedTask) -> LoadedTask:
    """The task with its data in memory, its splits and columns checked."""
    with quiet(), own_data_cache(planned.fingerprint):
        loaded = LoadedTask(planned.make)
        require_readable(loaded, str(planned.folder or planned.data))
    return loaded


def score_task(
    planned: PlannedTask,
    subject: Subject,
    encoder: Any,
    dims: Sequence[int],
    settings: Settings,
    on_progress: Callable[[int, int], None],
) -> tuple[list[Row], Stage]:
    """A row for each dim and split, and what they cost. The result files are written dim by dim."""
    started = time.perf_counter()
    loaded = load_task(planned)
    loading = time.perf_counter() - started
    store = VectorStore(_store_folder(settings, subject, encoder, planned.name), subject.width)
    reader = TextReader(encoder, store, batch_size=settings.batch_size, layers=subject.layers, on_progress=on_progress)
    rows: list[Row] = []
    # Full width first: it is what the shares are shares of.
    for dim in sorted(dims, reverse=True):
        result = _score_dim(loaded, reader, subject, dim, settings)
        rows += _rows(result, loaded, planned, subject, dim, settings.normalize)
    total = time.perf_counter() - started
    counts = reader.counts
    stage = Stage(
        subject.label,
        planned.name,
        loading,
        counts.seconds,
        total - loading - counts.seconds,
        counts.encoded,
        counts.found,
    )
    return sorted(rows, key=lambda row: row.dim), stage


def _score_dim(loaded: LoadedTask, reader: TextReader, subject: Subject, dim: int, settings: Settings) -> Any:
    """The TaskResult of mteb for a fresh task object at one dim, saved."""
    meta = model_meta(subject, reader.encoder, dim=dim, normalize=settings.normalize)
    prompts = mteb_prompts(reader.encoder.prompts)
    adapter = StoredEncoder(reader, meta, dim=dim, normalize=settings.normalize, prompts=prompts)
    encode_kwargs = {"batch_size": settings.batch_size, "show_progress_bar": False}
    # The threads of numpy's BLAS fight over matrices as small as these: Banking77 at 6 dims took 59 s on two busy cores
    # and 4 s with one thread, scores equal (2026). torch, which encodes and searches, keeps its own threads.
    with quiet(), threadpool_limits(limits=1, user_api="blas"):
        result = mteb.evaluate(
            adapter,
            loaded.fresh(),
            cache=None,
            co2_tracker=False,
            encode_kwargs=dict(encode_kwargs),
            show_progress_bar=False,
        ).task_results[0]
    save_result(settings.out, result, meta, encode_kwargs={**encode_kwargs, "normalize": settings.normalize})
    return result


def _rows(
    result: Any,
    loaded: LoadedTask,
    planned: PlannedTask,
    subject: Subject,
    dim: int,
    normalize: bool,
) -> list[Row]:
    rows = []
    for split in loaded.splits:
        score = 100 * float(result.get_score(splits=[split]))
        if score != score:
            raise EvaluationError(
                f"{planned.name}, {split}: the score at {dim} dims is no number; all vectors, or all labels, are equal"
            )
        rows.append(
            Row(
                model=subject.name,
                weights=subject.weights,
                origin=subject.origin,
                task=planned.name,
                type=planned.type,
                split=split,
                metric=planned.metric,
                dim=dim,
                layers=subject.layers,
                width=subject.width,
                bytes_per_vector=4 * dim,
                score=score,
                normalize=normalize,
                versions=versions(),
                data=planned.data,
                date=datetime.now(UTC),
            )
        )
    return rows


def _store_folder(settings: Settings, subject: Subject, encoder: Any, task: str) -> Path:
    """One folder per model, way of encoding and task; what the way was stands beside, in encoding.json."""
    encoding = {
        "weights": subject.weights,
        "modules": [str(module) for module in encoder if not hasattr(module, "auto_model")],
        "max_seq_length": encoder.max_seq_length,
        "dtype": str(encoder.dtype),
        "device": encoder.device.type,
        "versions": {name: number for name, number in versions().items() if name not in ("mteb", "matryoshka-text")},
    }
    if subject.layers is not None:
        encoding["layers"] = subject.layers
    text = json.dumps(encoding, indent=2, sort_keys=True) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder = settings.vectors / subject.name.replace("/", "__") / f"{subject.weights[:12]}-{digest}"
    if not (folder / "encoding.json").exists():
        write_whole(folder / "encoding.json", text)
    return folder / task.replace("/", "__")
