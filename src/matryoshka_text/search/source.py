"""Where an index's vectors and documents come from: a folder of `mtext encode` with its texts, or a .npy file."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from matryoshka_text.encoding.manifest import FILE, Manifest, read_manifest
from matryoshka_text.encoding.vectors import open_floats
from matryoshka_text.errors import DataError
from matryoshka_text.files import sha256_of
from matryoshka_text.reading.cells import Cells
from matryoshka_text.reading.faults import Faults
from matryoshka_text.reading.table import open_table, require_columns
from matryoshka_text.reading.texts import Texts
from matryoshka_text.search.record import Origin

__all__ = ["Source", "named_texts", "open_source"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Vectors [n, width], mapped; the model that made them, and the documents' texts and ids, if they are known."""

    vectors: np.ndarray
    origin: Origin | None
    texts: list[str] | None
    ids: list[str] | None


def open_source(
    path: Path, *, texts: Sequence[Path] = (), column: str = "text", id_column: str | None = None, bare: bool = False
) -> Source:
    """The vectors at `path`, with the texts of the files given, else of those that were encoded. `bare`: no texts.

    `DataError` for files of another number of texts, and for files that have changed since they were encoded.
    """
    vectors = open_floats(path)
    manifest = read_manifest(path) if path.is_dir() else None
    origin = (
        Origin(model=manifest.model, weights=manifest.weights, dim=manifest.dim, layers=manifest.layers)
        if manifest
        else None
    )
    files = list(texts)
    if not files and manifest and not bare:
        files, column = _encoded_files(path, manifest), manifest.column
    if not files:
        if id_column is not None:
            raise DataError(f"--id-column: found {id_column!r} without files of texts; give them with --texts")
        return Source(vectors, origin, None, None)
    found = [list(named_texts(file, column, id_column)) for file in files]
    rows = [row for each in found for row in each]
    if len(rows) != len(vectors):
        raise DataError(
            f"{', '.join(map(str, files))}: found {len(rows):,} texts for the {len(vectors):,} vectors of {path}; "
            "allowed: one text for each vector, in the same order"
        )
    ids = [str(name) for name, _ in rows] if id_column is not None else None
    return Source(vectors, origin, [text for _, text in rows], ids)


def named_texts(path: Path, column: str, id_column: str | None) -> Iterator[tuple[str, str]]:
    """Each row's id and text; the id is the row's number, from 1, without `id_column`.

    `DataError` naming the rows that lack one of them.
    """
    if id_column is None:
        yield from ((str(text.number), text.text) for text in Texts([path], column))
        return
    faults, columns = Faults(), {"text": column, "id": id_column}
    table = open_table(path, faults, (column, id_column))
    require_columns(table, columns, "--id-column")
    cells = Cells(str(path), columns, faults)
    for row in table.rows:
        name, text = cells.class_name(row, "id"), cells.text(row, "text", blank=True)
        if name is not None and text is not None:
            yield name, text
    faults.raise_any()


def _encoded_files(path: Path, manifest: Manifest) -> list[Path]:
    """The files that were encoded, if they are still there; [] with a note in the log if they are not."""
    files = []
    for given in manifest.inputs:
        file = Path(given.file)
        if given.sha256 is None or not file.is_file():
            log.info("%s: the texts of %s are not at hand, so hits show ids only; give them with --texts", path, file)
            return []
        if sha256_of(file) != given.sha256:
            raise DataError(
                f"{file}: has changed since it was encoded into {path} ({FILE}); encode it again, or give --no-texts"
            )
        files.append(file)
    return files
