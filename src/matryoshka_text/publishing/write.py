"""An evaluation laid out for mteb's leaderboard, checked with mteb's own tools before anything is written.

<directory>/results/<org>__<name>/<commit>/<Task>.json and model_meta.json for full width, prefixes below
<commit>/experiments/embed_dim_<d>/; <name>.py, the entry to propose; mteb_mock_run_results.md; SUBMISSION.md.
"""

import contextlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mteb import ResultCache
from mteb.models import ModelMeta

from matryoshka_text.encoder import resolve_model
from matryoshka_text.errors import EvaluationError, RunError
from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.mteb_compat import quiet
from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.files import expanded, whole_folder, write_whole
from matryoshka_text.publishing.check import (
    require_mock_run,
    require_readable_by_mteb,
    require_repeated,
)
from matryoshka_text.publishing.choice import Choice, LeftOut, choose, unfit
from matryoshka_text.publishing.meta import (
    as_module,
    entry_name,
    proposed_meta,
    read_module,
    unknown_fields,
    with_dim,
)
from matryoshka_text.publishing.text import instructions
from matryoshka_text.rows import Row

__all__ = ["Submission", "require_submittable", "write_submission"]

NOTE = "SUBMISSION.md"
_REVISION = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Submission:
    """What was written: the folder, the model as others find it, how many result files, and what was left out.

    `repeated`: the task and dim that mteb's own loader scored again; `apart`: by how many points it differed.
    """

    folder: Path
    name: str
    revision: str
    results: int
    left_out: tuple[LeftOut, ...]
    repeated: str
    apart: float

    def __str__(self) -> str:
        lines = [
            f"submission of {self.name} at {self.revision[:12]}: {self.results} result files in {self.folder}; "
            f"mteb reads them, its mock-run passes, and {self.repeated} comes out again ({self.apart:.3f} points apart)"
        ]
        lines += [f"left out: {one}" for one in self.left_out]
        return "\n".join([*lines, f"what to do next: {self.folder / NOTE}"])


def require_submittable(plan: Plan, directory: Path, *, published: str | None = None) -> tuple[str, str]:
    """The hub id and the commit under which others find the model; `published` ("org/name@commit") says so of a folder.

    `EvaluationError` for a model that is not on the hub, or if no score can be submitted, `RunError` if
    `directory` holds something else: all that can be known before anything is encoded.
    """
    directory, subject = expanded(directory), plan.subjects[0]
    _require_own(directory)
    found = _published(subject, published) if published is not None else _in_cache(subject.path)
    if found is None:
        raise EvaluationError(_unpublished(subject))
    _require_full_width(subject)
    if subject.layers is not None:
        raise EvaluationError(f"{subject.label}: mteb's loader runs all layers; submit without --layers")
    left_out = [LeftOut(task.name, reason) for task in plan.tasks if (reason := unfit(task)) is not None]
    if len(left_out) == len(plan.tasks):
        raise EvaluationError(_nothing(left_out))
    if plan.suite.normalize and not subject.unit:
        raise EvaluationError("vectors are brought back to length 1, which mteb's loader does not do; add --raw-prefix")
    return found


def _unpublished(subject: Subject) -> str:
    place = (
        f"{subject.label} comes from {subject.path}, which is no commit on the hub, so nobody can repeat its scores; "
    )
    if subject.origin == "package":
        return (
            place + f"on a connected machine run `hf download {subject.name}`, copy the hub cache here, and run again"
        )
    return place + f"publish it first (hf upload org/name {subject.path}), and evaluate it by its hub id"


def _nothing(left_out: Sequence[LeftOut]) -> str:
    listed = "\n  ".join(map(str, left_out))
    return (
        f"nothing can be submitted:\n  {listed}\nWay out: evaluate tasks of mteb with --raw-prefix, on data from the "
        "hub or from a folder that `mtext data fetch` made"
    )


def write_submission(
    directory: Path, *, out: Path, plan: Plan, rows: Sequence[Row], published: str | None = None
) -> Submission:
    """The scores of the plan's model that can go to the leaderboard, written to `directory` as a whole.

    `rows` are this evaluation's, `out` is where its result files are. Submitted are raw prefixes, in float32 and of all
    layers, of mteb's tasks on the bytes that mteb declares; the rest is listed. `EvaluationError`, and nothing written,
    where nothing is left, or mteb does not read, run or repeat it.
    """
    directory = expanded(directory).resolve()
    subject = plan.subjects[0]
    name, revision = require_submittable(plan, directory, published=published)
    choice = choose(plan, rows, out)
    if not choice.results:
        raise EvaluationError(_nothing(choice.left_out))
    dims = sorted({one.dim for one in choice.results if one.dim} | {*(subject.dims or ()), subject.width})
    encoder = subject.encoder("cpu")
    meta = proposed_meta(encoder, subject.path, name=name, revision=revision, dims=dims, prompts=plan.suite.prompts)
    del encoder
    with whole_folder(directory) as folder, quiet():
        written = _fill(folder, directory, meta, choice)
        # Looked at again: the checks on the files take minutes, in which somebody may have put a folder there.
        _require_own(directory)
        return written


def _require_own(directory: Path) -> None:
    """`RunError` if `directory` holds anything but an earlier submission, which is replaced."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())) and not (directory / NOTE).is_file():
        raise RunError(f"{directory}: is there and is no submission; give another folder with --submission")


def _fill(folder: Path, directory: Path, meta: ModelMeta, choice: Choice) -> Submission:
    """The files, then the checks on the files."""
    _write_results(folder, meta, choice)
    module = f"{entry_name(str(meta.name))}.py"
    write_whole(folder / module, as_module(meta))
    proposed = read_module(folder / module)
    if proposed != meta:
        raise EvaluationError(f"{module}: mteb's own to_python gives another entry than was to be written")
    require_readable_by_mteb(folder, meta, choice.scores)
    smallest = min((one.dim for one in choice.results if one.dim), default=None)
    cheapest = min(
        (one for one in choice.results if one.dim == smallest), key=lambda one: one.result.evaluation_time or 0.0
    )
    # Their bars, a dozen a second, say nothing here; what fails is raised.
    with contextlib.redirect_stderr(io.StringIO()):
        mocked = require_mock_run(proposed)
        apart = require_repeated(proposed, cheapest.planned, choice.scores, smallest)
    write_whole(folder / "mteb_mock_run_results.md", mocked.to_markdown() + "\n")
    left = [str(one) for one in choice.left_out]
    write_whole(
        folder / NOTE,
        instructions(meta, module, directory, dims=_dims(choice), left_out=left, unknown=unknown_fields(meta)),
    )
    repeated = f"{cheapest.planned.name} at {smallest or 'full'} dims"
    return Submission(
        directory,
        str(meta.name),
        str(meta.revision),
        results=len(choice.results),
        left_out=choice.left_out,
        repeated=repeated,
        apart=apart,
    )


def _write_results(folder: Path, meta: ModelMeta, choice: Choice) -> None:
    """The result files by mteb's own classes, with the settings that were recorded when they were scored."""
    cache = ResultCache(folder)
    for one in choice.results:
        recorded = with_dim(meta, one.dim)
        cache.save_to_cache(one.result, recorded)
        path = cache.get_task_result_path(one.result.task_name, recorded)
        settings = path.parent / "run_settings.jsonl"
        before = one.source.parent / settings.name
        if before.is_file():
            others = [line for line in _lines(settings) if line["task"] != one.result.task_name]
            of_task = [line for line in _lines(before) if line["task"] == one.result.task_name]
            write_whole(settings, "".join(json.dumps(line) + "\n" for line in [*others, *of_task]))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _dims(choice: Choice) -> list[int]:
    return sorted({one.dim for one in choice.results if one.dim})


def _in_cache(path: Path) -> tuple[str, str] | None:
    """Hub id and commit from …/models--org--name/snapshots/<commit>, the hub cache's own layout."""
    if path.parent.name != "snapshots" or not _REVISION.fullmatch(path.name):
        return None
    kind, *words = path.parents[1].name.split("--")
    return ("/".join(words), path.name) if kind == "models" and len(words) == 2 else None


def _published(subject: Subject, published: str) -> tuple[str, str]:
    name, _, revision = published.partition("@")
    if name.count("/") != 1 or not _REVISION.fullmatch(revision):
        raise EvaluationError(f"found {published!r}; allowed: org/name@commit, the commit as 40 hex digits")
    found = resolve_model(name, revision, with_code=subject.code)
    if _in_cache(found.path) != (name, revision):
        raise EvaluationError(f"{published}: was not had from the hub, but from {found.path}")
    if found.weights() != subject.weights:
        raise EvaluationError(
            f"{published}: holds other files than {subject.path}, which was evaluated; evaluate {name} itself"
        )
    return name, revision


def _require_full_width(subject: Subject) -> None:
    """`EvaluationError` if mteb's loader gives less than the full width when no dim is asked for."""
    settings = subject.path / "config_sentence_transformers.json"
    cut = json.loads(settings.read_text(encoding="utf-8")).get("truncate_dim") if settings.is_file() else None
    if cut is not None and cut != subject.width:
        raise EvaluationError(
            f"{settings}: truncate_dim is {cut}, so mteb's get_model gives {cut} of {subject.width} dims as full "
            "width; publish the model without truncate_dim"
        )
