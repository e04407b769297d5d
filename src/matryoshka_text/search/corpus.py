"""The rows of an index: unit vectors at full width, mapped from disk, with the ids and texts of their documents."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64

from matryoshka_text.arrays import open_array
from matryoshka_text.errors import DataError, RunError, shown
from matryoshka_text.files import require_space

__all__ = ["Corpus", "Lengths", "Segment", "write_segment"]

BLOCK = 16_384
_VECTORS, _DOCUMENTS = "vectors.npy", "documents.arrow"
# A row stored in float16 is that far from unit length; more is another scale.
_UNIT = 2e-3


class Segment:
    """Rows that were added together: their vectors, and a table with the columns id and, if there are any, text."""

    def __init__(self, vectors: Float32[np.ndarray, "n width"], documents: pa.Table) -> None:
        # A plain view of the map: its subclass costs some time with every row that is read.
        self.vectors, self.documents = np.asarray(vectors), documents

    @classmethod
    def open(cls, folder: Path, rows: int, width: int) -> "Segment":
        """What `write_segment` wrote, mapped; `RunError` if it is missing, damaged or of another size."""
        way_out = "build the index again"
        try:
            vectors = open_array(folder / _VECTORS)
            if not (folder / _DOCUMENTS).is_file():
                raise ValueError(f"{_DOCUMENTS} is no file")
            with pa.memory_map(str(folder / _DOCUMENTS)) as source:
                documents = pa.ipc.open_file(source).read_all()
            documents.validate(full=True)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise RunError(f"{folder}: cannot be read ({' '.join(str(error).split())[:200]}); {way_out}") from error
        if vectors.shape != (rows, width) or vectors.dtype != np.float32 or documents.num_rows != rows:
            raise RunError(
                f"{folder}: found vectors {list(vectors.shape)} of {vectors.dtype} and {documents.num_rows:,} "
                f"documents; allowed: [{rows}, {width}] of float32 and {rows:,}; {way_out}"
            )
        if not {"id"} <= set(documents.column_names) <= {"id", "text"}:
            names = ", ".join(map(shown, documents.column_names[:5]))
            raise RunError(f"{folder}: found documents with the columns {names}; allowed: id and text; {way_out}")
        return cls(vectors, documents)

    def __len__(self) -> int:
        return len(self.vectors)


class Corpus:
    """All segments of an index as one array of rows, counted from 0."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = list(segments)
        self._ends = np.cumsum([len(segment) for segment in self.segments])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def width(self) -> int:
        """Coordinates of a row."""
        return int(self.segments[0].vectors.shape[1])

    def blocks(self, rows: int = BLOCK) -> Iterator[Float32[np.ndarray, "n width"]]:
        """All rows in order, some at a time."""
        for segment in self.segments:
            for start in range(0, len(segment), rows):
                yield segment.vectors[start : start + rows]

    def gather(self, rows: Int64[np.ndarray, " n"], dim: int) -> Float32[np.ndarray, "n dim"]:
        """The first `dim` coordinates of these rows, in memory."""
        if len(self.segments) == 1:
            return self.segments[0].vectors[rows, :dim]
        found = np.empty((len(rows), dim), dtype=np.float32)
        for place, here, inside in self._places(rows):
            found[here] = self.segments[place].vectors[inside, :dim]
        return found

    def column(self, name: str, rows: Int64[np.ndarray, " n"]) -> list[Any]:
        """The ids or texts of these rows; None for a row without one."""
        found: list[Any] = [None] * len(rows)
        for place, here, inside in self._places(rows):
            documents = self.segments[place].documents
            if name in documents.column_names:
                column = documents.column(name)
                # One by one: Arrow's `take` hands its work to another thread, and a single query waits for that.
                for at, row in zip(here.tolist(), inside.tolist(), strict=True):
                    found[at] = column[row].as_py()
        return found

    @property
    def has_texts(self) -> bool:
        """Whether every row has its text."""
        return all("text" in segment.documents.column_names for segment in self.segments)

    @property
    def numbered(self) -> bool:
        """Whether every id is a whole number."""
        return all(pa.types.is_signed_integer(segment.documents.column("id").type) for segment in self.segments)

    def ids(self) -> Iterator[Any]:
        """The id of every row, in order."""
        for segment in self.segments:
            yield from segment.documents.column("id").to_pylist()

    def _places(self, rows: Int64[np.ndarray, " n"]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """By segment: its number, where its rows stand in `rows`, and their numbers inside it."""
        if len(self.segments) == 1:
            yield 0, np.arange(len(rows)), rows
            return
        of = np.searchsorted(self._ends, rows, side="right")
        for place in np.unique(of).tolist():
            here = np.flatnonzero(of == place)
            yield place, here, rows[here] - (self._ends[place] - len(self.segments[place]))


class Lengths:
    """Brings rows to float32 of unit length, and counts those that cannot be, or should not be, brought there."""

    def __init__(self, name: str, *, normalize: bool) -> None:
        self._name, self._normalize, self._rows = name, normalize, 0
        self._found: dict[str, list[int]] = {}

    def __call__(self, vectors: Float32[np.ndarray, "n width"]) -> Float32[np.ndarray, "n width"]:
        """The next block, every row divided by its length."""
        block = np.asarray(vectors, dtype=np.float32)
        lengths = np.linalg.norm(block, axis=1)
        finite = np.isfinite(lengths)
        self._note("NaN or infinity", ~finite)
        self._note("only zeros", lengths == 0)
        if not self._normalize:
            self._note("another length than 1", finite & (lengths > 0) & (np.abs(lengths - 1) > _UNIT))
        self._rows += len(block)
        return block / np.where(lengths > 0, lengths, 1)[:, None]

    def raise_any(self) -> None:
        """`DataError` saying how many rows of each kind of fault there were, and which came first."""
        ways = {
            "NaN or infinity": "allowed: finite numbers; make these vectors again",
            "only zeros": "allowed: vectors with a direction; leave these rows out",
            "another length than 1": "allowed: unit vectors; with normalize=True (--normalize) rows are divided by "
            "their length, and the search is by cosine",
        }
        for what, rows in self._found.items():
            shown = ", ".join(map(str, rows[1:6])) + (", …" if rows[0] > 5 else "")
            raise DataError(
                f"{self._name}: found {what} in {rows[0]:,} of {self._rows:,} rows, rows {shown} (from 0); {ways[what]}"
            )

    def _note(self, what: str, wrong: np.ndarray) -> None:
        if len(bad := np.flatnonzero(wrong)):
            noted = self._found.setdefault(what, [0])
            noted[0] += len(bad)
            noted.extend((self._rows + bad[: max(0, 6 - len(noted))]).tolist())


def write_segment(
    folder: Path, blocks: Iterator[Float32[np.ndarray, "n width"]], rows: int, width: int, documents: pa.Table
) -> None:
    """Write a segment's two files into `folder`, block by block."""
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, 4 * rows * width, what="the vectors of the index")
    out = np.lib.format.open_memmap(folder / _VECTORS, mode="w+", dtype=np.float32, shape=(rows, width))
    start = 0
    for block in blocks:
        out[start : start + len(block)] = block
        start += len(block)
    out.flush()
    del out
    with pa.OSFile(str(folder / _DOCUMENTS), "wb") as sink, pa.ipc.new_file(sink, documents.schema) as writer:
        # One piece: to take rows out of many, Arrow looks at all of them.
        writer.write_table(documents.combine_chunks())
