"""Where a suite's data are: folders below the data roots, or the hub."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from matryoshka_text.bundled import bundled
from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.beir import missing_files
from matryoshka_text.suite import Suite

__all__ = ["DATA_ROOT", "Found", "data_roots", "find_beir", "find_hub_layout", "find_text"]

DATA_ROOT = "MTEXT_DATA_ROOT"
_DATA_ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")


@dataclass(frozen=True)
class Found:
    """A task's folder (None: the hub), or what is missing in words."""

    folder: Path | None = None
    problem: str | None = None


def data_roots(suite: Suite, data_root: str | Path | None) -> list[Path]:
    """The folders to search, in order: the one given, then the suite's own `data`, else the one in MTEXT_DATA_ROOT.

    An empty list means the hub. `DataError` for a root that is no folder.
    """
    roots = [] if data_root is None else [_require_folder(Path(data_root).expanduser(), "--data-root")]
    if suite.data == "bundled":
        roots.append(bundled("recipes") / "data")
    elif suite.data is not None:
        roots.append(_require_folder(suite.folder / Path(suite.data).expanduser(), f"suite {suite.name}: data"))
    elif not roots and os.environ.get(DATA_ROOT):
        roots.append(_require_folder(Path(os.environ[DATA_ROOT]).expanduser(), f"the environment variable {DATA_ROOT}"))
    return [root.resolve() for root in roots]


def find_hub_layout(roots: Iterable[Path], hub_id: str) -> Found:
    """The folder `org__name` below a root or its mteb/; the hub where there is no root at all."""
    roots = list(roots)
    if not roots:
        return Found()
    looked = [place / hub_id.replace("/", "__") for root in roots for place in (root, root / "mteb")]
    for folder in looked:
        if not folder.is_dir():
            continue
        if any(file.name.endswith(_DATA_ENDINGS) for file in folder.rglob("*")):
            return Found(folder)
        return Found(problem=f"{folder} holds no data file ({', '.join(_DATA_ENDINGS)})")
    return Found(problem="no such folder: " + " or ".join(map(str, looked)))


def find_beir(roots: Iterable[Path], name: str, split: str, base: Path) -> Found:
    """The folder in BEIR layout: `name` as a path, or below a root or its extra/; it has to hold all three files."""
    given = Path(name).expanduser()
    if given.is_absolute() or name.startswith("."):
        looked = [base / given]
    else:
        looked = [place / name for root in roots for place in (root, root / "extra")]
    for folder in looked:
        if folder.is_dir():
            lacking = missing_files(folder, split)
            return Found(problem=f"{folder} lacks {', '.join(lacking)}") if lacking else Found(folder.resolve())
    if not looked:
        return Found(problem="a retrieval folder needs a data root")
    return Found(problem="no such folder: " + " or ".join(map(str, looked)))


def find_text(roots: Iterable[Path], name: str, base: Path) -> Path | str:
    """The text file, `name` as a path or below a root; or what is missing in words."""
    given = Path(name).expanduser()
    looked = [base / given] if given.is_absolute() or name.startswith(".") else [root / name for root in roots]
    there = [file.resolve() for file in looked if file.is_file()]
    if there:
        return there[0]
    return "no such file: " + " or ".join(map(str, looked)) if looked else "a masked_text needs a data root"


def _require_folder(path: Path, origin: str) -> Path:
    if not path.is_dir():
        raise DataError(f"{origin}: {path} is no folder; give the folder that holds mteb/ and extra/")
    return path
