"""The rows of search.jsonl: those of an earlier run are taken, the others are made and written as they come."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.scoring.score import Scorer
from matryoshka_text.evaluation.searching.bench import Bench, Seen
from matryoshka_text.evaluation.searching.contenders import Contender, K, contenders
from matryoshka_text.evaluation.searching.judged import Judged
from matryoshka_text.evaluation.searching.rows import SearchRow
from matryoshka_text.evaluation.settings import Settings, processor, versions
from matryoshka_text.evaluation.tasks.planned import PlannedTask
from matryoshka_text.rows import Method, append_rows, read_lines
from matryoshka_text.search.structures import faiss
from matryoshka_text.vectors.views import View

__all__ = ["Searches"]

Group = tuple[object, ...]
Known = dict[tuple[str, str], SearchRow]


class Searches:
    """What an evaluation with `search` adds to its retrieval tasks. `DataError` for a file that holds other lines."""

    def __init__(self, planned: Plan, settings: Settings) -> None:
        self.planned, self.settings = planned, settings
        self._file = settings.out / "search.jsonl"
        self._known: dict[Group, Known] = {}
        self._know(read_lines(self._file, SearchRow) if planned.search else ())

    def finished(self, task: PlannedTask, subject: Subject) -> list[SearchRow] | None:
        """The rows of an earlier run, if it has all of them; [] for what is not searched."""
        rows: list[SearchRow] = []
        if not self.planned.searches(task, subject):
            return rows
        for split in task.splits:
            for subset in task.subsets or task.make().hf_subsets:
                documents = 0
                for rotation in self._rotations(subject):
                    known = self._known.get(self._group(task, subject, (split, subset), rotation), {})
                    documents = next((row.documents for row in known.values()), documents)
                    wanted = self._wanted(subject, documents, rotation)
                    if not documents or not all(_name(one) in known for one in wanted):
                        return None
                    rows += [known[_name(one)] for one in wanted]
        return rows

    def rows(self, task: PlannedTask, subject: Subject, scorer: Scorer, say: Callable[[str], None]) -> list[SearchRow]:
        """All rows of that model on that task; each is written when it is known."""
        loaded = scorer.loaded.fresh()
        rows: list[SearchRow] = []
        for split in scorer.loaded.splits:
            for subset in loaded.hf_subsets:
                judged = Judged.of(loaded, split, subset)
                for rotation in self._rotations(subject):
                    if rotation is not None and len(scorer.documents.texts) < self.planned.fit_of(subject).fewest:
                        say(f"{task.name}: too few documents to fit a rotation on, so no search is rotated")
                        continue
                    rows += self._part(task, subject, judged, rotation, scorer=scorer)
        return rows

    def _part(
        self, task: PlannedTask, subject: Subject, judged: Judged, rotation: str | None, *, scorer: Scorer
    ) -> list[SearchRow]:
        group = self._group(task, subject, (judged.split, judged.subset), rotation)
        wanted = self._wanted(subject, len(judged.corpus), rotation)
        bench: Bench | None = None
        for contender in wanted:
            if _name(contender) in self._known.get(group, {}):
                continue
            bench = bench or self._bench(subject, judged, rotation, scorer)
            row = self._row(task, subject, judged, rotation, contender=contender, seen=bench.see(contender))
            append_rows(self._file, [row])
            self._know([row])
        known = self._known[group]
        return [known[_name(contender)] for contender in wanted]

    def _bench(self, subject: Subject, judged: Judged, rotation: str | None, scorer: Scorer) -> Bench:
        method: Method = "first" if rotation is None else "rotation"
        return Bench(
            judged,
            whole=scorer.encoder_of(View(subject.width)),
            encoder_of=lambda dim: scorer.encoder_of(View(dim, method, rotation=rotation)),
            dims=self.planned.dims_of(subject),
            rotation=None if rotation is None else scorer.of_documents,
            seed=self.settings.seed,
        )

    def _row(
        self,
        task: PlannedTask,
        subject: Subject,
        judged: Judged,
        rotation: str | None,
        *,
        contender: Contender,
        seen: Seen,
    ) -> SearchRow:
        return SearchRow(
            model=subject.name,
            weights=subject.weights,
            layers=subject.layers,
            width=subject.width,
            task=task.name,
            split=judged.split,
            subset=judged.subset,
            data=task.data,
            documents=len(judged.corpus),
            queries=len(judged.queries),
            rotation=rotation,
            kind=contender.kind,
            name=contender.name,
            dim=seen.plan.stages[0].dim if seen.plan else contender.dim,
            precision=seen.plan.stages[0].precision if seen.plan else contender.precision,
            plan=seen.plan,
            lists=seen.lists,
            note=seen.note,
            k=K,
            **{measure: 100 * share for measure, share in seen.quality._asdict().items()},
            recall=100 * seen.recall,
            mflops=seen.mflops,
            bytes_read=seen.bytes_read,
            milliseconds=seen.milliseconds,
            threads=1,
            machine=processor(),
            normalize=self.settings.normalize,
            settings=self._digest(subject, rotation),
            versions={**versions(), "faiss": str(faiss().__version__)},
            date=datetime.now(UTC),
        )

    def _rotations(self, subject: Subject) -> tuple[str | None, ...]:
        """The model's own dims, and the rotation fitted on the task's documents."""
        return (None, self.planned.fit_of(subject).digest)

    def _wanted(self, subject: Subject, documents: int, rotation: str | None) -> list[Contender]:
        if rotation is not None and documents < self.planned.fit_of(subject).fewest:
            return []
        return list(contenders(self.planned.dims_of(subject), documents, rotated=rotation is not None))

    def _group(self, task: PlannedTask, subject: Subject, part: tuple[str, str], rotation: str | None) -> Group:
        """`SearchRow.group` of that part (split and subset)."""
        what = (subject.name, subject.weights, subject.layers, task.name, *part, task.data)
        return (*what, rotation, processor(), self.settings.normalize, self._digest(subject, rotation))

    def _digest(self, subject: Subject, rotation: str | None) -> str:
        return self.settings.digest(None, rotation, self.settings.similarity_of(subject))

    def _know(self, rows: Sequence[SearchRow]) -> None:
        for row in rows:
            self._known.setdefault(row.group, {})[row.kind, row.name] = row


def _name(contender: Contender) -> tuple[Any, str]:
    return contender.kind, contender.name
