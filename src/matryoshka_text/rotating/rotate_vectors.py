"""A rotation for vectors without their model: arrays in, one file out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matryoshka_text.errors import DataError, RunError
from matryoshka_text.records import require_same
from matryoshka_text.rotating.arrays import open_arrays, sample_hashes
from matryoshka_text.rotating.checks import HELD_BACK, chosen_dims, require_enough, require_split
from matryoshka_text.rotating.clusters import divided
from matryoshka_text.rotating.learning import learn_shown
from matryoshka_text.rotating.table import kept_table
from matryoshka_text.rotation import (
    FitSettings,
    Rotation,
    SourceKept,
    Split,
    dims_to_look_at,
    kept_by_source,
    split_sources,
)
from matryoshka_text.versions import __version__

__all__ = ["RotatedVectors", "rotate_vectors"]


@dataclass(frozen=True)
class RotatedVectors:
    """The rotation in `path`, whether it was learned now, and what it does; printed, it is the table."""

    path: Path
    rotation: Rotation
    kept: tuple[SourceKept, ...]
    new: bool

    def __str__(self) -> str:
        return kept_table(self.kept, self.rotation.width)


def _different(part: Split) -> int:
    """How many of the rows read point in different directions, bit for bit."""
    return len({row.tobytes() for rows in (part.learned, part.held_back) for row in rows.numpy()})


def rotate_vectors(
    vectors: Sequence[str | Path],
    out: str | Path,
    dims: Sequence[int] | None = None,
    *,
    most: int = 20_000,
    split: int = 1,
    settings: FitSettings | None = None,
    progress: bool = False,
) -> RotatedVectors:
    """The rotation of vectors in .npy files and in folders of `mtext encode`, each a source, as the file `out`.

    Of each at most `most` rows are read, drawn by the seed. `out` appears whole or not at all; one that is there
    already is left alone if it is of the same rows and settings, and a `RunError` otherwise.
    """
    fit, path = settings or FitSettings(), Path(out)
    require_split(split)
    _require_place(path)
    sources = open_arrays(vectors)
    parts = split_sources(sources, most=most, held_back=HELD_BACK, seed=fit.seed)
    width = next(iter(parts.values())).learned.shape[1]
    dims = chosen_dims(dims, (), width)
    require_enough({name: _different(part) for name, part in parts.items()}, width, fit, what="vectors")
    identity: dict[str, Any] = {"rows_sha256": list(sample_hashes(parts).values()), "split": split, "fit": asdict(fit)}
    parts = divided(parts, split, fit)
    if path.exists():
        there = _same(path, identity, dims)
        return RotatedVectors(path, there, kept_by_source(parts, dims_to_look_at(dims, width), there), new=False)
    learned = learn_shown(parts, dims, fit, progress=progress)
    record = {**learned.rotation.record, **identity, "sources": list(sources), "matryoshka_text": __version__}
    rotation = Rotation(learned.rotation.matrix, dims, record)
    rotation.save(path)
    return RotatedVectors(path, rotation, learned.kept, new=True)


def _require_place(path: Path) -> None:
    if path.suffix != ".safetensors" or path.is_dir():
        raise DataError(f"--out: found {path}; allowed with --vectors: a file that ends in .safetensors")


def _same(path: Path, identity: dict[str, Any], dims: Sequence[int]) -> Rotation:
    """The rotation in `path`; `RunError` if it cannot be read, or is of other rows, dims or settings."""
    try:
        there = Rotation.open(path)
    except DataError as error:
        raise RunError(f"--out: {error}; or write to another file, or remove this one") from error
    require_same(path, _shown(there.record, there.dims), _shown(identity, dims), what="rotation")
    return there


def _shown(identity: Mapping[str, Any], dims: Sequence[int]) -> dict[str, Any]:
    """What decides a rotation, as an error shows it."""
    rows = [f"sha256 {one[:12]}" for one in identity.get("rows_sha256", ())]
    return {"rows": rows, "split": identity.get("split"), "dims": list(dims), **identity.get("fit", {})}
