"""Rows, models and plans for the tests of what is made of rows."""

import math
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matryoshka_text.data import Example, SourceRows, TextColumn, table_of
from matryoshka_text.data.columns import columns_in
from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.plan import Plan, PlannedTask
from matryoshka_text.rows import Row
from matryoshka_text.suite import Suite, TaskEntry

TYPES = ("STS", "Classification", "Clustering", "PairClassification", "Reranking", "Retrieval", "Summarization")
OURS = Subject("local/ours", "<b>ours</b> & co", Path("/m"), "folder", "a" * 64, 64, (8, 32, 64))
THEIRS = Subject("org/theirs", "theirs[/red]|$x$", Path("/n"), "hub", "b" * 64, 32, None)
FF = Subject("local/ff-8", "FF-8", Path("/f"), "folder", "c" * 64, 64, None, 8)


def row(weights: str, task: str, dim: int, score: float, **changes: Any) -> Row:
    """A row of an STS task; `changes` are other fields than these."""
    values = {
        "model": "org/name", "weights": weights, "origin": "folder", "task": task, "type": "STS", "split": "test",
        "metric": "cosine_spearman", "dim": dim, "width": 8, "bytes_per_vector": 4 * dim, "score": score,
        "normalize": True, "versions": {}, "data": "x", "date": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return Row(**{**values, **changes})


def made(
    count: int = 2,
    *,
    dims: tuple[int, ...] = (8, 24, 32),
    subjects: tuple[Subject, ...] = (OURS, THEIRS, FF),
    kinds: tuple[str, ...] = TYPES,
    **suite: Any,
) -> tuple[Plan, list[Row]]:
    """A plan of that many tasks, and a row for everything it would score."""
    tasks = tuple(
        PlannedTask(f"TaskNumber{place}", kinds[place % len(kinds)], "accuracy", "test", None, "x@1", None)
        for place in range(count)
    )
    entries = tuple(TaskEntry(task=task.name) for task in tasks)
    reduced = subjects[1:2] if suite.get("baselines") else ()
    planned = Plan(Suite(name="x", tasks=entries, **suite), tasks, subjects, (*dims, OURS.width), reduced)
    rows = [
        row(
            one.weights,
            task.name,
            view.dim,
            50 + place + 5 * math.log2(view.dim) - subjects.index(one) - (view.seed or 0),
            model=one.name,
            origin=one.origin,
            type=task.type,
            metric="accuracy",
            width=one.width,
            method=view.method,
            seed=view.seed,
            precision=view.precision,
            interval=None if view.seed is not None else (40.0, 99.0),
            versions={"mteb": "2"},
            data="x@1",
            date=datetime(2026, 1, 2, tzinfo=UTC),
        )
        for place, task in enumerate(tasks)
        for one in subjects
        for view in planned.views_of(one)
    ]
    return planned, rows


def source_rows(label: str, texts: list[tuple[str, ...]], numbers: list[int], values: Any = None) -> SourceRows:
    """Examples as a source gives them."""
    values = values or [None] * len(texts)
    return SourceRows(label, table_of(map(Example, numbers, texts, values)))


def columns(*given: Iterable[str]) -> tuple[TextColumn, ...]:
    """Texts in columns."""
    rows = list(zip(*given, strict=True))
    return columns_in(table_of(Example(number, texts) for number, texts in enumerate(rows)))


def twin_of(model: Path, folder: Path, seed: int) -> None:
    """A copy of the model, its weights moved at random."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(seed)
    moved = {
        name: tensor + 0.05 * torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
