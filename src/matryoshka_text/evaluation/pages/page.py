"""eval/README.md and the README's table, generated from the committed rows (`make tables`)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from pydantic import Field

from matryoshka_text.evaluation.pages.baselines import render_baselines
from matryoshka_text.evaluation.pages.records import Record, Weights, read_record
from matryoshka_text.evaluation.pages.study import render_study
from matryoshka_text.files import write_whole
from matryoshka_text.rows import Row, latest_rows, read_rows

__all__ = ["About", "main", "render_front", "render_page"]

_START, _END = "<!-- table:quickstart -->", "<!-- /table:quickstart -->"


class About(Record):
    """about.yaml: one recipe's models of several seeds, and what they are compared with."""

    recipe: str
    seeds: dict[int, Weights] = Field(description="the trained models' weight hashes by seed")
    baseline: str = Field(description="what the baseline is called")
    baseline_weights: Weights
    front: tuple[str, ...] = Field(description="tasks of the README's table")


class _Scores:
    """The rows of one folder, looked up by task and dim."""

    def __init__(self, about: About, rows: Sequence[Row]) -> None:
        self.about = about
        self.rows = latest_rows([row for row in rows if row.layers is None])
        self.tasks = {row.task: row.metric for row in self.rows}
        self.dims = sorted({row.dim for row in self.rows if row.weights in about.seeds.values()})

    def ours(self, task: str, dim: int) -> list[float]:
        """The score of each seed; the missing are left out."""
        return [s for w in self.about.seeds.values() if (s := self._score(w, task, dim)) is not None]

    def theirs(self, task: str, dim: int) -> float | None:
        """The baseline's score, truncated alike."""
        return self._score(self.about.baseline_weights, task, dim)

    def cells(self, task: str, dim: int) -> tuple[str, str, str, str]:
        """Baseline, mean over the seeds, its spread (largest - smallest), difference."""
        ours, theirs = self.ours(task, dim), self.theirs(task, dim)
        if not ours or theirs is None:
            return "-", "-", "-", "-"
        mean = fmean(ours)
        spread = f"{max(ours) - min(ours):.2f}" if len(ours) > 1 else "one seed"
        return f"{theirs:.2f}", f"{mean:.2f}", spread, f"{mean - theirs:+.2f}"

    def _score(self, weights: str, task: str, dim: int) -> float | None:
        found = [row.score for row in self.rows if (row.weights, row.task, row.dim) == (weights, task, dim)]
        return found[-1] if found else None


def render_front(scores: _Scores) -> str:
    """The README's table: a row a dim, score and difference to the untouched model for a few tasks."""
    about = scores.about
    header = ["dims", "bytes a vector", *(f"{task} | against untouched" for task in about.front)]
    lines = ["| " + " | ".join(header) + " |", "|" + " ---: |" * (2 + 2 * len(about.front))]
    for dim in scores.dims:
        cells = [part for task in about.front for part in scores.cells(task, dim)[1::2]]
        lines.append("| " + " | ".join([str(dim), f"{4 * dim:,}", *cells]) + " |")
    count = len(about.seeds)
    fewer = [task for task in about.front if len(scores.ours(task, scores.dims[-1])) < count]
    seeds = f"Mean of {count} seeds" + (f" ({', '.join(fewer)}: seed {min(about.seeds)} alone)" if fewer else "")
    metrics = ", ".join(f"{task}: {scores.tasks[task]}" for task in about.front)
    lines += [
        "",
        f"{about.note} {seeds}, x 100 ({metrics}); made by [{about.recipe}]({about.recipe}) at commit "
        f"{about.commit[:9]}. All tasks and the spread: [eval/README.md](eval/README.md).",
    ]
    return "\n".join(lines) + "\n"


def render_page(folders: Sequence[tuple[str, _Scores]]) -> str:
    """eval/README.md."""
    lines = [
        "# Results",
        "",
        "Generated from the rows in `results/` by `make tables`; do not edit. `LOG.md` tells how they came about.",
    ]
    for name, scores in folders:
        about = scores.about
        lines += ["", f"## {about.title}", "", about.note, ""]
        lines += [f"Recipe `{about.recipe}`, commit `{about.commit[:9]}`, seeds {', '.join(map(str, about.seeds))}; "]
        lines += [f"rows in `results/{name}/rows.jsonl`, made by `{about.command}`."]
        for task, metric in scores.tasks.items():
            lines += ["", f"### {task} ({metric} x 100)", ""]
            lines += [f"| dim | bytes a vector | {about.baseline}, truncated | trained, mean | spread | difference |"]
            lines += ["|" + " ---: |" * 6]
            rows = ((dim, scores.cells(task, dim)) for dim in scores.dims)
            lines += [f"| {dim} | {4 * dim:,} | " + " | ".join(cells) + " |" for dim, cells in rows]
        lines += ["", *_means(scores)]
    return "\n".join(lines) + "\n"


def _means(scores: _Scores) -> list[str]:
    """The difference averaged over the dims, task by task."""
    lines = ["### Mean difference over the dims", "", "| task | difference |", "| :--- | ---: |"]
    for task in scores.tasks:
        pairs = [(scores.ours(task, dim), scores.theirs(task, dim)) for dim in scores.dims]
        gaps = [fmean(ours) - theirs for ours, theirs in pairs if ours and theirs is not None]
        lines.append(f"| {task} | {fmean(gaps):+.2f} |" if gaps else f"| {task} | - |")
    return lines


def _pages(root: Path) -> dict[Path, str]:
    """Every generated page and what should be in it."""
    results = root / "eval" / "results"
    folders = [
        (about.parent.name, _Scores(read_record(about, About), read_rows(about.parent / "rows.jsonl")))
        for about in sorted(results.glob("*/about.yaml"))
    ]
    studies = [render_study(place.parent) for place in sorted(results.glob("*/study.yaml"))]
    baselines = [render_baselines(place.parent) for place in sorted(results.glob("*/baselines.yaml"))]
    pages = {root / "eval" / "README.md": "\n".join([render_page(folders), *baselines, *studies])}
    front = root / "README.md"
    before, _, rest = front.read_text().partition(_START)
    _, found, after = rest.partition(_END)
    quickstart = dict(folders).get("quickstart")
    if found and quickstart is not None:
        pages[front] = f"{before}{_START}\n{render_front(quickstart)}{_END}{after}"
    return pages


def main(words: Sequence[str] | None = None) -> int:
    """Write the pages; with --check write nothing and give 1 where one is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 where a page is stale")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout (default: here)")
    asked = parser.parse_args(words)
    stale = [path for path, text in _pages(asked.root).items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if asked.check:
            sys.stderr.write(f"{path}: stale; run `make tables`\n")
        else:
            write_whole(path, _pages(asked.root)[path])
    return 1 if asked.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
