"""Everything that can be known to be wrong with a recipe before it is run: schema, files, rows, batch and width."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from matryoshka_text.data import SourceRows, Unreachable, assembled, plan_batches, read_held_out, read_source
from matryoshka_text.encoder.resolve import beside, require_bert_family, require_weights, resolve_model, width_of
from matryoshka_text.errors import DataError, ModelError
from matryoshka_text.recipe import Base, Batch, HeldOut, Reading, Source, read_recipe
from matryoshka_text.recipe.section import Loc, Section, value_of
from matryoshka_text.recipe.wording import loc_of

__all__ = ["Findings", "check_recipe", "inspect_recipe"]

S = TypeVar("S", bound=Section)
R = TypeVar("R")


@dataclass
class Findings:
    """One line per problem, and notes on what could not be looked at from here."""

    reading: Reading
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, loc: Loc, text: str) -> None:
        """Record a problem at a key of the recipe."""
        self.problems.append(f"{self.reading.place(loc)}: {text}")

    def note(self, loc: Loc, text: str) -> None:
        """Record what was not looked at, and why."""
        self.notes.append(f"{self.reading.place(loc)}: note: {text}")

    def of_data(self, error: DataError) -> None:
        """Record each line of `error`; one that begins with a key of the recipe gets the key's file and line."""
        for line in str(error).splitlines():
            key, _, text = line.partition(": ")
            if re.match(r"(data|evaluation|batch)\b[^ /]*$", key):
                self.problem(loc_of(key), text)
            else:
                self.problems.append(line)


def check_recipe(path: Path) -> list[str]:
    """All problems of the recipe at `path`, one line each; empty where it can be run."""
    return inspect_recipe(path).problems


def inspect_recipe(path: Path) -> Findings:
    """Problems of the recipe at `path`, and notes; nothing is run and nothing fetched.

    Sections that are valid by themselves are looked into even where others are not: their files, columns and rows, the
    batch against the number of rows, the dims against the base's width where the base is on this machine. NOT covered:
    data sets of the hub, unless HF_HUB_OFFLINE is set and they are cached.
    """
    reading = read_recipe(path)
    findings = Findings(reading, list(reading.problems))
    values = reading.document.value
    if isinstance(values, dict):
        _check_data(values, findings)
        _check_held_out(values, findings)
        _check_models(values, findings)
    return findings


def _check_data(values: dict[str, Any], findings: Findings) -> None:
    seed = values.get("seed", 0)
    seed = seed if isinstance(seed, int) else 0
    items = values.get("data")
    sources = [_valid(Source, item) for item in items] if isinstance(items, list) else []
    found: list[SourceRows | None] = []
    for index, source in enumerate(sources):
        key = f"data[{index}]"

        def read(source: Source | None = source, key: str = key) -> SourceRows | None:
            return read_source(source, findings.reading.folder, key=key, seed=seed) if source else None

        found.append(_looked_into(source, key, read, findings))
    batch = _valid(Batch, values.get("batch", {}))
    whole = [(source, rows) for source, rows in zip(sources, found, strict=True) if source and rows]
    if batch is not None and whole and len(whole) == len(sources):
        _check_batch(batch, [source for source, _ in whole], [rows for _, rows in whole], seed, findings)


def _check_batch(batch: Batch, sources: list[Source], found: list[SourceRows], seed: int, findings: Findings) -> None:
    rows = sum(len(part.texts) for part in found)
    if batch.size > rows:
        findings.problem(
            ("batch", "size"), f"found {batch.size}; allowed: at most {rows}, the rows of the data; use a smaller batch"
        )
        return
    try:
        examples = assembled(sources, found)
        groups = examples.source if batch.mixing == "by_source" else None
        plan_batches(examples.columns, size=batch.size, seed=seed, epoch=0, bucket=batch.bucket, groups=groups)
    except DataError as error:
        message = str(error)
        if message.startswith("data["):
            findings.of_data(error)
        else:
            findings.problem(("batch", "size"), message.removeprefix("batch.size: "))


def _check_held_out(values: dict[str, Any], findings: Findings) -> None:
    items = value_of(values.get("evaluation") or {}, "data")
    for index, item in enumerate(items if isinstance(items, list) else ()):
        held_out = _valid(HeldOut, item)
        key = f"evaluation.data[{index}]"

        def read(held_out: HeldOut | None = held_out, key: str = key) -> object:
            return read_held_out(held_out, findings.reading.folder, key=key) if held_out else None

        _looked_into(held_out, key, read, findings)


def _looked_into(section: Source | HeldOut | None, key: str, read: Callable[[], R], findings: Findings) -> R | None:
    """What `read` gives; None where the section is wrong, its rows are wrong, or it lies on the hub."""
    if section is None:
        return None
    if section.hub is not None and not os.environ.get("HF_HUB_OFFLINE"):
        findings.note(
            loc_of(key), f"{section.hub} is not looked at, nothing is fetched; HF_HUB_OFFLINE=1 reads a cached copy"
        )
        return None
    try:
        return read()
    except Unreachable:
        findings.note(loc_of(key), f"{section.hub} is not in the datasets cache, so its rows are not looked at")
    except DataError as error:
        findings.of_data(error)
    return None


def _check_models(values: dict[str, Any], findings: Findings) -> None:
    base = _valid(Base, values.get("base"))
    if base is not None:
        width = _width(("base", "model"), base.model, base.revision, findings, pooling=base.pooling)
        dims = values.get("dims")
        _check_full_width(base, width, dims, values.get("objectives"), findings)
        for index, dim in enumerate(dims if isinstance(dims, list) and width else ()):
            if isinstance(dim, int) and width and dim > width:
                findings.problem(
                    ("dims", index),
                    f"found {dim}, and {base.model} gives vectors of width {width}; allowed: at most {width}; "
                    "use smaller dims, or another base",
                )
    objectives = values.get("objectives")
    for index, objective in enumerate(objectives if isinstance(objectives, list) else ()):
        teacher = value_of(objective, "teacher")
        if isinstance(teacher, str) and teacher:
            _width(("objectives", index, "teacher"), teacher, None, findings)


def _check_full_width(base: Base, width: int | None, dims: Any, objectives: Any, findings: Findings) -> None:
    """A problem where `distill` has no full width to hold on to."""
    kinds = [value_of(objective, "kind") for objective in objectives] if isinstance(objectives, list) else []
    last = dims[-1] if isinstance(dims, list) and dims else None
    if "distill" in kinds and width and isinstance(last, int) and last < width:
        findings.problem(
            ("dims", len(dims) - 1),
            f"found {last}, but distill anchors full width, which is {width} for {base.model}; "
            f"allowed: dims that end in {width}; add it",
        )


def _width(loc: Loc, name: str, revision: str | None, findings: Findings, *, pooling: str | None = None) -> int | None:
    """The width of model `name` where it is on this machine; a problem where it can never be had, else a note."""
    try:
        found = resolve_model(beside(name, findings.reading.folder), revision, local_only=True)
        require_bert_family(found.path, name)
        require_weights(found.path, name)
        if pooling is not None and (found.path / "modules.json").is_file():
            findings.problem(
                ("base", "pooling"),
                f"found {pooling}, but {name} is a sentence-transformers model with its own pooling; "
                "allowed: null; leave it out",
            )
        return width_of(found.path)
    except ModelError as error:
        if Path(name).expanduser().is_dir() or name.startswith((".", "/", "~")) or name.count("/") > 1:
            findings.problem(loc, f"found {name!r}: {error}")
        else:
            findings.note(loc, f"{name} is not on this machine, so its width is not looked at")
    return None


def _valid(section: type[S], values: Any) -> S | None:
    try:
        return section.model_validate(values)
    except ValidationError:
        return None  # its faults are among the reading's problems
