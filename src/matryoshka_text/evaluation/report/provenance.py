"""What stands next to the numbers: models, versions, dates, normalisation, sample, draws, prompts, seed and data."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.scoring.bootstrap import ROUNDS
from matryoshka_text.evaluation.tasks.planned import MASKED_TEXT, PlannedTask
from matryoshka_text.evaluation.tasks.sample import read_sample
from matryoshka_text.rows import Row

__all__ = ["DataLine", "data_lines", "dates", "normalization", "settings_of", "versions_of"]


@dataclass(frozen=True)
class DataLine:
    """One task's data: `official`: byte for byte those of the revision that mteb declares."""

    task: str
    type: str
    split: str
    metric: str
    data: str
    official: bool


def normalization(rows: Sequence[Row]) -> str:
    """What was done to prefixes; "" if nothing but masked text was scored, which has none."""
    normalize = {row.normalize for row in rows if row.type != MASKED_TEXT}
    how = "brought back to length 1" if True in normalize else "left as they are"
    return f"prefixes {how} before scoring" if normalize else ""


def data_lines(plan: Plan, rows: Sequence[Row]) -> list[DataLine]:
    """Each scored task and split with its data, in the order of the rows."""
    official = {task.name: isinstance(task, PlannedTask) and task.official for task in plan.tasks}
    return list(
        dict.fromkeys(
            DataLine(
                row.task,
                row.type,
                row.split,
                metric=row.metric,
                data=row.data,
                official=official.get(row.task, False),
            )
            for row in rows
        )
    )


def versions_of(rows: Sequence[Row]) -> list[str]:
    """The versions of libraries, one line for each combination that occurs: rows may come of different days."""
    return list(dict.fromkeys(", ".join(f"{name} {number}" for name, number in row.versions.items()) for row in rows))


def dates(rows: Sequence[Row]) -> str:
    """The day, or the first and the last, UTC."""
    days = sorted({f"{row.date:%Y-%m-%d}" for row in rows})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def settings_of(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """What else decided the numbers, a line each: sample, draws, prompts, seed and rounds of the bootstrap.

    `DataError` if the sample was used and is not there any more.
    """
    prompts = ", ".join(f"{name} {json.dumps(text, ensure_ascii=False)}" for name, text in plan.suite.prompts.items())
    found = [*_sample(plan, rows), *_rotations(plan, rows), *_draws(rows)]
    if any(row.type != MASKED_TEXT for row in rows):
        found.append(f"prompts: {f'{prompts} (of the suite); else ' if prompts else ''}those of the models")
    return [*found, f"seed of the suite: {plan.suite.seed}; 95% intervals: {ROUNDS:,} rounds of the bootstrap"]


def _sample(plan: Plan, rows: Sequence[Row]) -> Iterator[str]:
    """The texts that components and ranges came from, and of which tasks some were left out."""
    using = [row for row in rows if row.sample is not None and row.method != "rotation"]
    if not using:
        return
    sample = read_sample(plan.suite)
    kinds = dict.fromkeys(row.precision if row.method == "first" else row.method for row in using)
    less = {row.task: row.sample for row in using if row.sample not in (None, sample.digest)}
    without = ", ".join(f"{task} (sha256 {digest[:12]})" for task, digest in less.items() if digest)
    left_out = f"; components less the texts that the task has too: {without}" if without else ""
    yield f"sample for {', '.join(kinds)}: {sample}{left_out}"


def _rotations(plan: Plan, rows: Sequence[Row]) -> Iterator[str]:
    """What a given rotation is, and what those of the tasks were fitted on."""
    if plan.rotation is not None:
        shape = f"width {plan.rotation.rotation.width}, sha256 of the matrix {plan.rotation.digest[:12]}"
        yield f"rotated: the vectors of {plan.subjects[0].label} times {plan.rotation.name} ({shape})"
    of_tasks = {row.task: row.sample or "" for row in rows if row.method == "rotation"}
    if of_tasks:
        listed = ", ".join(f"{task} (sha256 {digest[:12]})" for task, digest in of_tasks.items())
        yield (
            "rotation: fitted on each task's own documents, without queries, judgements and labels, so that its scores "
            f"are of the model with that corpus: {listed}"
        )


def _draws(rows: Sequence[Row]) -> Iterator[str]:
    drawn = [row for row in rows if row.seed is not None]
    for method in dict.fromkeys(row.method for row in drawn):
        seeds = sorted({row.seed for row in drawn if row.method == method and row.seed is not None})
        if len(seeds) == 1:
            yield f"{method}: one draw, seed {seeds[0]}; differences to it say nothing of other draws"
        else:
            yield f"{method}: {len(seeds)} draws, seeds {', '.join(map(str, seeds))}"
