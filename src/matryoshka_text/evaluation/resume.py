"""Rows that an earlier run, or another program, has left in an evaluation's folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.scoring.items import items_path
from matryoshka_text.evaluation.scoring.masked import within_decoder
from matryoshka_text.evaluation.settings import Settings
from matryoshka_text.evaluation.tasks.planned import PlannedTask, PlannedText
from matryoshka_text.evaluation.tasks.sample import Sample
from matryoshka_text.rows import Row, append_rows, read_rows
from matryoshka_text.vectors.views import View

__all__ = ["KeptRows"]


class KeptRows:
    """The rows of rows.jsonl, by what they are of; `sample` gives the texts that some views are fitted on."""

    def __init__(self, planned: Plan, settings: Settings, known: Sequence[Row], sample: Callable[[], Sample]) -> None:
        self.planned, self.settings, self._sample = planned, settings, sample
        self._file = settings.out / "rows.jsonl"
        self._known = {_cell(row): row for row in known}
        self._seen = _stamp(self._file)

    def finished(self, task: PlannedTask | PlannedText, subject: Subject) -> list[Row] | None:
        """The rows of an earlier run, if it has all of them."""
        if isinstance(task, PlannedText):
            return self._finished_text(task, subject)
        rows: list[Row] = []
        for view in self.planned.views_for(task, subject):
            before = self.before(task, subject, view)
            if before is None:
                return None
            rows += before
        return rows

    def before(self, task: PlannedTask, subject: Subject, view: View) -> list[Row] | None:
        """The view's rows of an earlier run: same weights, data and settings, and mteb's file agrees."""
        from matryoshka_text.evaluation.scoring.results import holds, result_path

        self._reread()
        sample = self._sample if view.needs_sample else None
        settings = self.settings.digest(sample, view.rotation, self.settings.similarity_of(subject))
        how = (view.dim, view.method, view.seed, view.precision, self.settings.normalize, settings)
        what = (subject.name, subject.weights, subject.layers, task.name, task.type, task.metric, task.data)
        found = [self._known.get((*what, split, *how)) for split in task.splits]
        rows = [row for row in found if row is not None]
        path = result_path(self.settings.out, subject, view, task.name, **self.settings.told(sample))
        if not rows or len(rows) < len(found) or not holds(path, {row.split: row.score for row in rows}):
            return None
        without_items = (row.interval is not None and not items_path(self.settings.out, row).is_file() for row in rows)
        return None if any(without_items) else rows

    def _finished_text(self, task: PlannedText, subject: Subject) -> list[Row] | None:
        known = [
            row
            for row in self._known.values()
            if (row.model, row.weights, row.layers) == (subject.name, subject.weights, subject.layers)
            and (row.task, row.type, row.data, row.settings)
            == (task.name, task.type, task.data, self.settings.digest())
        ]
        if not known:
            return None
        dims = within_decoder(self.planned.dims_of(subject), known[0].width, subject)
        rows = [row for row in known if row.dim in dims]
        return rows if len(rows) == len(dims) else None

    def append(self, rows: Sequence[Row]) -> None:
        """Write the rows, and know them."""
        alone = self._seen == _stamp(self._file)
        append_rows(self._file, rows)
        self._known |= {_cell(row): row for row in rows}
        # If another program has added rows too, the next look reads them.
        self._seen = _stamp(self._file) if alone else None

    def _reread(self) -> None:
        """Take in the rows that another program has added since."""
        if self._seen != (now := _stamp(self._file)):
            self._known |= {_cell(row): row for row in read_rows(self._file)}
            self._seen = now


def _stamp(file: Path) -> tuple[int, int] | None:
    """What changes when the file does."""
    found = file.stat() if file.exists() else None
    return None if found is None else (found.st_mtime_ns, found.st_ino)


def _cell(row: Row) -> tuple[object, ...]:
    what = (row.model, row.weights, row.layers, row.task, row.type, row.metric, row.data, row.split)
    return (*what, row.dim, row.method, row.seed, row.precision, row.normalize, row.settings)
