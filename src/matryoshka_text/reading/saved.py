"""Rows of a data set of the `datasets` library: from the hub, or a folder that its `save_to_disk` wrote."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matryoshka_text.errors import DataError

__all__ = ["dataset_rows", "is_saved", "opened_folder", "require_one_split"]

_AT_ONCE = 1000


def is_saved(path: Path) -> bool:
    """Whether `path` is a folder that `Dataset.save_to_disk` wrote."""
    return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def require_one_split(path: Path) -> None:
    """`DataError` naming the splits if `path` is a folder that `DatasetDict.save_to_disk` wrote."""
    if not (path / "dataset_dict.json").is_file():
        return
    splits = sorted(str(inner) for inner in path.iterdir() if is_saved(inner))
    raise DataError(
        f"{path}: found a data set of several splits; allowed: one of them; name {' or '.join(splits) or 'another'}"
    )


def opened_folder(path: Path) -> Any:
    """The `datasets.Dataset` in `path`, mapped into memory; `DataError` if its files are damaged."""
    import datasets
    import pyarrow

    try:
        return datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        what = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(
            f"{path}: is a broken data set ({what}); allowed: a folder as save_to_disk writes it; write it again"
        ) from error


def dataset_rows(dataset: Any, wanted: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The cells of the `wanted` columns that the data set has, row by row, counted from 1; classes by their names.

    A column inside another, named by dots, comes within the outer one.
    """
    from datasets import ClassLabel

    outer = (name if name in dataset.column_names else name.split(".")[0] for name in wanted)
    used = [name for name in dict.fromkeys(outer) if name in dataset.column_names]
    features = dataset.features
    names = {column: features[column].names for column in used if isinstance(features[column], ClassLabel)}
    number = 0
    for batch in dataset.select_columns(used).iter(batch_size=_AT_ONCE) if used else ():
        for cells in zip(*(batch[column] for column in used), strict=True):
            number += 1
            row = dict(zip(used, cells, strict=True))
            for column, known in names.items():
                # An unlabelled row has -1, which is the name of no class.
                row[column] = known[row[column]] if row[column] is not None and row[column] >= 0 else row[column]
            yield number, row
