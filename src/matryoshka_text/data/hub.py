"""Data sets of the Hugging Face hub, through the `datasets` library and its cache."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matryoshka_text.errors import DataError
from matryoshka_text.reading import Table, table_of_dataset
from matryoshka_text.recipe import HeldOut, Source

__all__ = ["Unreachable", "open_hub"]


class Unreachable(DataError):
    """A data set of the hub that is neither in the cache nor to be had."""


def open_hub(section: Source | HeldOut, wanted: Sequence[str], key: str) -> Table:
    """The table that `section` names on the hub; `Unreachable` or `DataError` say what was tried."""
    dataset = _load(section, key)
    config = f"[{section.config}]" if section.config else ""
    return table_of_dataset(f"hub {section.hub}{config} {section.split}", dataset, wanted)


def _load(section: Source | HeldOut, key: str) -> Any:
    import datasets

    hub = str(section.hub)
    if Path(hub).exists():
        raise DataError(
            f"{key}.hub: found {hub!r}, which is also a path in the working folder; the datasets library would "
            "read that instead of the hub; run from another folder, or use `file:`"
        )
    named = (
        f"{hub!r}, config {section.config or 'default'}, split {section.split}, revision {section.revision or 'main'}"
    )
    try:
        dataset = datasets.load_dataset(hub, section.config, split=section.split, revision=section.revision)
    except (ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        raise Unreachable(
            f"{key}.hub: the data set {named} cannot be had. Tried: the datasets cache "
            f"({datasets.config.HF_DATASETS_CACHE}), the hub ({_first_line(error)}). Way out: on a connected machine "
            "load it once and copy that cache here (HF_HOME or HF_DATASETS_CACHE names the folder), or save it as a "
            "file and use `file:`"
        ) from error
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        raise DataError(
            f"{key}.hub: the data set {named} cannot be loaded: {_first_line(error)}; "
            "allowed: an existing config, split and revision; look them up on the data set's page"
        ) from error
    _require_revision(dataset, section, key)
    return dataset


def _require_revision(dataset: Any, section: Source | HeldOut, key: str) -> None:
    # Where the hub is out of reach, datasets serves the newest cached copy whatever revision was asked for. The folder
    # of a cached copy is named by its commit.
    if section.revision is None or not re.fullmatch("[0-9a-f]{40}", section.revision) or not dataset.cache_files:
        return
    cached = Path(dataset.cache_files[0]["filename"]).parent.name
    if re.fullmatch("[0-9a-f]{40}", cached) and cached != section.revision:
        raise DataError(
            f"{key}.revision: found commit {cached} of {section.hub!r} in the cache, and the hub is out of reach; "
            f"allowed: {section.revision}; connect once, or ask for the cached commit"
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
