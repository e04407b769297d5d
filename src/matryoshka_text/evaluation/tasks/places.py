"""Where a suite's data are: folders below the data roots, or the hub."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from matryoshka_text.bundled import bundled
from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks.beir import missing_files
from matryoshka_text.files import expanded
from matryoshka_text.reading.files import TABLE_SUFFIXES
from matryoshka_text.reading.saved import is_saved
from matryoshka_text.suite import Suite

__all__ = ["DATA_ENDINGS", "DATA_ROOT", "Found", "data_roots", "find_beir", "find_hub_layout", "find_own", "find_text"]

DATA_ROOT = "MTEXT_DATA_ROOT"
DATA_ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")


@dataclass(frozen=True)
class Found:
    """A task's folder (None: the hub), or what is missing in words.

    Of an own set `folder` may be one file; `files` are its files by split, the one file having the split "".
    """

    folder: Path | None = None
    problem: str | None = None
    files: Mapping[str, Path] = field(default_factory=dict)


def data_roots(suite: Suite, data_root: str | Path | None) -> list[Path]:
    """The folders to search, in order: the one given, then the suite's own `data`, else the one in MTEXT_DATA_ROOT.

    An empty list means the hub. `DataError` for a root that is no folder.
    """
    roots = [] if data_root is None else [_require_folder(expanded(data_root), "--data-root")]
    if suite.data == "bundled":
        roots.append(bundled("recipes") / "data")
    elif suite.data is not None:
        roots.append(_require_folder(suite.folder / expanded(suite.data), f"suite {suite.name}: data"))
    elif not roots and os.environ.get(DATA_ROOT):
        roots.append(_require_folder(expanded(os.environ[DATA_ROOT]), f"the environment variable {DATA_ROOT}"))
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
        if any(file.name.endswith(DATA_ENDINGS) for file in folder.rglob("*")):
            return Found(folder)
        return Found(problem=f"{folder} holds no data file ({', '.join(DATA_ENDINGS)})")
    return Found(problem="no such folder: " + " or ".join(map(str, looked)))


def find_beir(roots: Iterable[Path], name: str, split: str, base: Path) -> Found:
    """The folder in BEIR layout: `name` as a path, or below a root or its extra/; it has to hold all three files."""
    looked = _looked(roots, name, base)
    for folder in looked:
        if folder.is_dir():
            lacking = missing_files(folder, split)
            return Found(problem=f"{folder} lacks {', '.join(lacking)}") if lacking else Found(folder.resolve())
    hint = _path_hint(name, base, ("",))
    if not looked:
        return Found(problem=f"a retrieval folder needs a data root{hint}")
    return Found(problem="no such folder: " + " or ".join(map(str, looked)) + hint)


def find_own(roots: Iterable[Path], name: str, base: Path) -> Found:
    """The own set: a folder with a file for each split (test.jsonl, …), or one file whose ending may be left out.

    `name` is a path, or below a root or its extra/.
    """
    looked = _looked(roots, name, base)
    for place in looked:
        if place.is_dir() and not is_saved(place):
            files: dict[str, Path] = {}
            for file in sorted(place.iterdir()):
                if (split := _split_of(file)) is not None and (other := files.setdefault(split, file)) != file:
                    return Found(problem=f"{place} holds {other.name} and {file.name} for one split; keep one of them")
            if not files:
                return Found(problem=f"{place} holds no file {', '.join('<split>' + one for one in TABLE_SUFFIXES)}")
            return Found(place.resolve(), files={split: file.resolve() for split, file in files.items()})
        for file in (place, *(place.with_name(place.name + ending) for ending in TABLE_SUFFIXES)):
            if is_saved(file) or (file.is_file() and file.name.endswith(TABLE_SUFFIXES)):
                return Found(file.resolve(), files={"": file.resolve()})
    hint = _path_hint(name, base, ("", *TABLE_SUFFIXES))
    if not looked:
        return Found(problem=f"an own set needs a data root{hint}")
    places = " or ".join(map(str, looked))
    return Found(problem=f"no such folder, and no file of that name with {', '.join(TABLE_SUFFIXES)}: {places}{hint}")


def _path_hint(name: str, base: Path, endings: Iterable[str]) -> str:
    """What to write for a file or folder that is there, but not where a name without a dot before it is sought."""
    given = expanded(name)
    if given.is_absolute() or name.startswith("."):
        return ""
    for folder, where in ((base, ""), (Path.cwd(), " on the command line")):
        for ending in endings:
            there = folder / f"{given}{ending}"
            if there.exists():
                return f"; {there.resolve()} is there, but a path begins with a dot: write ./{given}{ending}{where}"
    return ""


def _looked(roots: Iterable[Path], name: str, base: Path) -> list[Path]:
    given = expanded(name)
    if given.is_absolute() or name.startswith("."):
        return [base / given]
    return [place / name for root in roots for place in (root, root / "extra")]


def _split_of(file: Path) -> str | None:
    """The split that a file (or a folder of save_to_disk) in a folder holds; None if it holds no data."""
    if is_saved(file):
        return file.name
    endings = [ending for ending in TABLE_SUFFIXES if file.name.endswith(ending)] if file.is_file() else []
    return (
        file.name.removesuffix(max(endings, key=len))
        if endings and not file.name.startswith((".", "dataset_dict."))
        else None
    )


def find_text(roots: Iterable[Path], name: str, base: Path) -> Path | str:
    """The text file, `name` as a path or below a root; or what is missing in words."""
    given = expanded(name)
    looked = [base / given] if given.is_absolute() or name.startswith(".") else [root / name for root in roots]
    there = [file.resolve() for file in looked if file.is_file()]
    if there:
        return there[0]
    missing = "no such file: " + " or ".join(map(str, looked)) if looked else "a masked_text needs a data root"
    return missing + _path_hint(name, base, ("",))


def _require_folder(path: Path, origin: str) -> Path:
    if not path.is_dir():
        raise DataError(f"{origin}: {path} is no folder; give the folder that holds mteb/ and extra/")
    return path
