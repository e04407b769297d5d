"""The data files of a folder that cannot be read, or hold no row."""

from pathlib import Path

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks.places import DATA_ENDINGS
from matryoshka_text.reading import Faults, open_table

__all__ = ["file_faults"]


def file_faults(folder: Path) -> list[str]:
    """The first fault of each such file: place, what was found and what is allowed."""
    files = sorted(file for file in folder.rglob("*") if file.name.endswith(DATA_ENDINGS) and file.is_file())
    return [fault for file in files if (fault := _fault(file)) is not None]


def _fault(file: Path) -> str | None:
    faults = Faults(most=1)
    try:
        for _ in open_table(file, faults).rows:
            if faults.count:
                break
        faults.raise_any()
    except DataError as error:
        return str(error).partition("\n")[0]
    return None
