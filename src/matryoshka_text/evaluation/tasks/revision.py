"""The commits of the hub that a task's data really come from.

Where the hub is out of reach `datasets` serves the newest copy in its cache, whatever revision was asked for, and a
folder in the working folder that is called like the data set goes before the hub's.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import datasets.load

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks.command import fetch_command

__all__ = ["Load", "require_declared_revision", "watched_loads"]


@dataclass(frozen=True)
class Load:
    """One data set that `datasets` opened: `found` is its commit, or the name of its copy's folder in the cache.

    `asked`: the revision that it was asked for. `of_hub`: False for local files.
    """

    path: str
    asked: str | None
    found: str | None
    of_hub: bool


@contextmanager
def watched_loads() -> Iterator[list[Load]]:
    """A list that fills with every data set that `datasets.load_dataset` opens meanwhile."""
    loads: list[Load] = []
    original = datasets.load.load_dataset_builder

    def watching(path: str, *rest: Any, revision: Any = None, **settings: Any) -> Any:
        builder = original(path, *rest, revision=revision, **settings)
        asked = None if revision is None else str(revision)
        loads.append(Load(path, asked, builder.hash, builder.repo_id is not None))
        return builder

    # `load_dataset` is what mteb's classes have imported by name; what it calls is looked up here.
    datasets.load.load_dataset_builder = watching
    try:
        yield loads
    finally:
        datasets.load.load_dataset_builder = original


def require_declared_revision(name: str, declared: Mapping[str, Any], loads: Sequence[Load]) -> None:
    """`DataError` where mteb's task of that name was given other data than those of the revision it declares.

    `declared`: the path and revision of the task's metadata. Local folders are what they are, but for one that stands
    in for the hub's.
    """
    for load in dict.fromkeys(loads):
        is_own = load.path == declared.get("path")
        wanted = load.asked or (str(declared.get("revision")) if is_own else None)
        if load.of_hub:
            if wanted is not None and re.fullmatch("[0-9a-f]{7,40}", wanted) and not _is(load.found, wanted):
                raise DataError(_other_commit(name, load, wanted))
        elif is_own and not Path(load.path).is_absolute():
            raise DataError(
                f"{name}: found the folder {Path(load.path).resolve()}, which the datasets library reads in place of "
                f"the hub's {load.path}; needed: {load.path} at revision {wanted}; run from another folder, or give a "
                f"data root: run {fetch_command([name])}, then --data-root DIR"
            )


def _is(found: str | None, wanted: str) -> bool:
    return found is not None and found.startswith(wanted)


def _other_commit(name: str, load: Load, wanted: str) -> str:
    return (
        f"{name}: found revision {load.found} of {load.path} in the datasets cache "
        f"({datasets.config.HF_DATASETS_CACHE}), which is served where the hub does not give what is asked for; "
        f"needed: revision {wanted}. Way out: on a connected machine run {fetch_command([name])}, then give DIR with "
        "--data-root"
    )
