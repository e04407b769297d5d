"""The part of eval/README.md that sets nested models next to those trained at one dim only."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import Field

from matryoshka_text.rows import Row, latest_rows, read_rows
from tools.pages.records import Record, Weights, read_record

__all__ = ["Study", "render_study"]


class Study(Record):
    """study.yaml: nested models, and those trained at one dim only."""

    recipe: str
    nested: dict[str, Weights] = Field(min_length=1, description="the nested models' weight hashes by name")
    ff: dict[int, Weights] = Field(description="the weight hash of the model trained at this dim only")


def render_study(folder: Path) -> str:
    """A section: for each task score and, where a row has one, perplexity of each model, and the difference to FF."""
    study, rows = read_record(folder / "study.yaml", Study), latest_rows(read_rows(folder / "rows.jsonl"))
    lines = [f"## {study.title}", "", study.note, ""]
    lines += [f"Recipe `{study.recipe}`, commit `{study.commit[:9]}`;"]
    lines += [f"rows in `results/{folder.name}/rows.jsonl`, made by `{study.command}`."]
    for task in dict.fromkeys(row.task for row in rows):
        lines += ["", *_task(study, task, [row for row in rows if row.task == task])]
    return "\n".join(lines) + "\n"


def _task(study: Study, task: str, rows: Sequence[Row]) -> Iterator[str]:
    yield f"### {task} ({rows[0].metric} x 100; perplexity in brackets)"
    yield ""
    yield "| dim | FF, trained at this dim only | " + " | ".join(f"{n} | against FF" for n in study.nested) + " |"
    yield "|" + " ---: |" * (2 + 2 * len(study.nested))
    gaps: dict[str, list[float]] = {name: [] for name in study.nested}
    for dim in sorted(study.ff):
        alone = _row(rows, study.ff[dim], dim)
        cells = [str(dim), _shown(alone)]
        for name, weights in study.nested.items():
            ours = _row(rows, weights, dim)
            gap = ours.score - alone.score if ours is not None and alone is not None else None
            gaps[name] += [] if gap is None else [gap]
            cells += [_shown(ours), "-" if gap is None else f"{gap:+.2f}"]
        yield f"| {' | '.join(cells)} |"
    means = (part for name in study.nested for part in ("", f"{fmean(gaps[name]):+.2f}" if gaps[name] else "-"))
    yield f"| mean | | {' | '.join(means)} |"


def _row(rows: Sequence[Row], weights: str, dim: int) -> Row | None:
    return next((row for row in reversed(rows) if (row.weights, row.dim, row.layers) == (weights, dim, None)), None)


def _shown(row: Row | None) -> str:
    if row is None:
        return "-"
    perplexity = row.further.get("perplexity")
    return f"{row.score:.2f}" + (f" ({perplexity:.1f})" if perplexity is not None else "")
