"""What comes into an index: its checks, and the blocks and documents of a segment."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from matryoshka_text.errors import DataError
from matryoshka_text.rotation import Rotation
from matryoshka_text.search.corpus import BLOCK, Corpus, Lengths

__all__ = ["dims_of", "documents_of", "require_other_ids", "require_width", "shape_of", "turned_blocks"]

Vectors = Float32[np.ndarray, "n width"]


def documents_of(rows: int, ids: Sequence[str | int] | None, texts: Sequence[str] | None) -> pa.Table:
    """The table of a segment's documents; `DataError` for another number of them, and for ids that repeat."""
    names = list(range(rows) if ids is None else ids)
    columns = {"id": pa.array(names)} | ({} if texts is None else {"text": pa.array(list(texts), pa.large_string())})
    for column, found in columns.items():
        if len(found) != rows:
            raise DataError(f"{column}s: found {len(found):,}; allowed: {rows:,}, one for each vector")
    if len(set(names)) != rows:
        again = next(name for name, count in Counter(names).items() if count > 1)
        raise DataError(f"ids: found {again!r} twice; allowed: each id once; leave one out, or number the rows")
    return pa.table(columns)


def require_other_ids(corpus: Corpus, documents: pa.Table) -> None:
    """`DataError` for an id that the index has already."""
    new = set(documents.column("id").to_pylist())
    if again := next((name for name in corpus.ids() if name in new), None):
        raise DataError(
            f"ids: found {again!r}, which the index has already; allowed: new ids; delete the old one first"
        )


def shape_of(vectors: Vectors) -> tuple[int, int]:
    """Rows and width; `DataError` for what is no array of vectors."""
    shape = tuple(vectors.shape)
    if len(shape) != 2 or 0 in shape or not np.issubdtype(vectors.dtype, np.floating):
        raise DataError(
            f"vectors: found an array of shape {list(shape)} of {vectors.dtype}; allowed: [rows, width] of "
            "floating-point numbers, at least one row"
        )
    return shape


def require_width(rotation: Rotation, width: int) -> None:
    """`DataError` for a rotation of vectors of another width."""
    if rotation.width != width:
        raise DataError(f"rotate: found a rotation of width {rotation.width}; allowed: {width}, that of the vectors")


def dims_of(dims: Sequence[int] | None, width: int) -> tuple[int, ...]:
    """`dims` with the width; None: the width and its halvings. `DataError` for dims that do not increase or fit."""
    if dims is None:
        halvings = [width]
        while halvings[0] % 2 == 0 and halvings[0] // 2 >= 8:
            halvings.insert(0, halvings[0] // 2)
        return tuple(halvings)
    wrong = [dim for dim in dims if not 2 <= dim <= width]
    if wrong or list(dims) != sorted(set(dims)):
        raise DataError(f"dims: found {list(dims)}; allowed: increasing whole numbers from 2 to {width}")
    return tuple(dims) if dims[-1] == width else (*dims, width)


def turned_blocks(vectors: Vectors, rotation: Rotation | None, *, normalize: bool) -> Iterator[Vectors]:
    """Unit rows, rotated, block by block; `DataError` after the last one if some were no unit rows."""
    lengths = Lengths("vectors", normalize=normalize)
    matrix = None if rotation is None else rotation.matrix.astype(np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = lengths(vectors[np.arange(start, min(start + BLOCK, len(vectors)))])
        yield block if matrix is None else block @ matrix
    lengths.raise_any()
