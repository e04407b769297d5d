"""Vectors that can be searched by prefixes: built, searched, tuned, added to, saved and opened."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float32, Int64

from matryoshka_text.errors import DataError, RunError
from matryoshka_text.files import sweep, whole_file, whole_folder
from matryoshka_text.rotation import Rotation
from matryoshka_text.search import incoming
from matryoshka_text.search.corpus import Corpus, Lengths, Segment, write_segment
from matryoshka_text.search.hits import Hits, hits_of
from matryoshka_text.search.plan import Plan
from matryoshka_text.search.record import (
    IndexRecord,
    Origin,
    next_record,
    read_index,
    read_rows,
    whole_index,
    write_index,
    writing,
)
from matryoshka_text.search.stages import Found, searched
from matryoshka_text.search.structures import Key, Searchable
from matryoshka_text.search.tuning import Tuning, tuned
from matryoshka_text.search.turn import kept_by_prefixes, own_rotation

__all__ = ["PrefixIndex"]

Vectors = Float32[np.ndarray, "n width"]
_ROTATION = "rotation.safetensors"


class PrefixIndex:
    """A folder of unit vectors with its own rotation, and the structures that its plan searches.

    Vectors stay on disk and are mapped; in memory is only what a plan's first stage reads.
    """

    def __init__(self, folder: Path, record: IndexRecord) -> None:
        self.folder, self.record = folder, record
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        segments = [Segment.open(folder / name, rows, record.width) for name, rows in record.segments.items()]
        self.corpus = Corpus(segments)
        self.rotation = Rotation.open(folder / _ROTATION) if record.rotated else None
        if self.rotation is not None:
            incoming.require_width(self.rotation, record.width)
        self._matrix = None if self.rotation is None else self.rotation.matrix.astype(np.float32)
        self._structures: dict[Key, Searchable] = {}
        rows = len(self.corpus)
        self._deleted = read_rows(folder / record.deleted, rows) if record.deleted else np.empty(0, dtype=np.int64)

    @classmethod
    def build(
        cls,
        vectors: Vectors,
        *,
        dims: Sequence[int] | None = None,
        ids: Sequence[str | int] | None = None,
        texts: Sequence[str] | None = None,
        rotate: bool | Rotation = True,
        normalize: bool = False,
        origin: Origin | None = None,
        seed: int = 0,
        out: str | Path | None = None,
        progress: bool = False,
        then: Callable[["PrefixIndex"], object] | None = None,
    ) -> "PrefixIndex":
        """An index of these vectors [n, width] in the folder `out` (None: a temporary one, until it is saved).

        `vectors` may be mapped from disk or an encode folder's (`open_floats`); they are read in blocks. `rotate`: turn
        them by a rotation learned from themselves, or by the one given; scores at full width do not change. A
        collection's own rotation is better for its search than a general one, so it is learned for rotated models too.
        `dims` are the prefix lengths it is learned for (None: the width and its halvings). `ids` are row numbers unless
        given. `then` may do more to the index (tune it) before it stands in `out`. `DataError` for vectors that are not
        of unit length (unless `normalize`), NaN, ids that repeat.
        """
        rows, width = incoming.shape_of(vectors)
        dims = incoming.dims_of(dims, width)
        documents = incoming.documents_of(rows, ids, texts)
        rotation = rotate if isinstance(rotate, Rotation) else None
        if rotation is None and rotate:
            rotation = own_rotation(vectors, dims, seed=seed, progress=progress)
        elif rotation is not None:
            incoming.require_width(rotation, width)
        temporary = tempfile.TemporaryDirectory(prefix="mtext-index-") if out is None else None
        folder = Path(temporary.name) / "index" if temporary else Path(cast("str | Path", out)).resolve()
        with whole_index(folder) as made:
            name = "segment-00000"
            blocks = incoming.turned_blocks(vectors, rotation, normalize=normalize)
            write_segment(made / name, blocks, rows, width, documents=documents)
            if rotation is not None:
                rotation.save(made / _ROTATION)
            record = IndexRecord(
                origin=origin,
                width=width,
                dims=dims,
                segments={name: rows},
                rotated=rotation is not None,
                normalized=normalize,
                seed=seed,
            )
            kept = kept_by_prefixes(Corpus([Segment.open(made / name, rows, width)]), dims, seed=seed)
            write_index(made, record.model_copy(update={"kept": kept}))
            if then is not None:
                then(cls.open(made))
        found = cls.open(folder)
        found._temporary = temporary
        return found

    @classmethod
    def open(cls, folder: str | Path) -> "PrefixIndex":
        """The index that `build`, `save` or `mtext index` wrote; `RunError` for any other folder, or a damaged one."""
        return cls(Path(folder), read_index(Path(folder)))

    def save(self, folder: str | Path) -> None:
        """Copy the index to `folder`, which appears whole. An index that was built there is on disk already."""
        target = Path(folder)
        if target.resolve() == self.folder.resolve():
            return
        with whole_index(target) as made:
            shutil.copytree(self.folder, made, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))

    def __len__(self) -> int:
        return len(self.corpus) - len(self._deleted)

    @property
    def width(self) -> int:
        """Coordinates of a vector."""
        return self.record.width

    @property
    def dims(self) -> tuple[int, ...]:
        """The prefix lengths that its rotation was learned for."""
        return self.record.dims

    @property
    def plan(self) -> Plan:
        """The plan that was tuned, or a cautious one: the best 200 by an eighth of the width, ordered by all of it."""
        if self.record.plan is not None:
            return self.record.plan
        fitting = [dim for dim in self.dims if dim * 8 >= self.width]
        return Plan.adaptive(fitting[0], self.width) if fitting[0] < self.width else Plan.exact(self.width)

    def search(self, queries: Vectors, k: int = 10, plan: Plan | None = None) -> Hits:
        """The `k` best documents of each query [q, width] (or of one [width]); scores are cosines at full width.

        `plan` None: `self.plan`. `DataError` for queries of another width, or NaN or zeros; for k above what the plan
        keeps.
        """
        return hits_of(self.corpus, self.shortlisted(self.turned(queries), k, plan or self.plan))

    def texts(self, rows: Int64[np.ndarray, " n"]) -> list[str | None]:
        """The texts of these rows; None for a row that has none."""
        return self.corpus.column("text", np.asarray(rows, dtype=np.int64))

    def tune(self, queries: Vectors | None = None, *, k: int = 10, recall: float = 0.99, **settings: Any) -> Tuning:
        """The fastest plan whose recall of the exact top `k` is at least `recall`; it becomes the index's plan.

        See `tuning.tuned` for how it is found and for `settings`. `queries` None: rows of the index stand in.
        """
        given = None if queries is None else self.turned(queries)
        with writing(self.folder):
            found = tuned(self, given, k=k, target=recall, **settings)
            self._write(plan=found.plan, structures=(Key.of(found.plan.stages[0]),))
        return found

    def turned(self, queries: Vectors) -> Vectors:
        """Queries as the index compares them: unit length, rotated like its rows. `DataError` if that cannot be."""
        given = np.atleast_2d(np.asarray(queries, dtype=np.float32))
        if given.ndim != 2 or given.shape[1] != self.width:
            raise DataError(
                f"queries: found shape {list(given.shape)}; allowed: [queries, {self.width}], the index's width; "
                "encode them with the model that made its vectors"
            )
        lengths = Lengths("queries", normalize=True)
        unit = lengths(given)
        lengths.raise_any()
        return unit if self._matrix is None else unit @ self._matrix

    def shortlisted(self, queries: Vectors, k: int, plan: Plan) -> Found:
        """`search` for queries that are `turned` already: row numbers and scores."""
        if plan.width != self.width:
            raise DataError(f"plan: found a last stage of {plan.width} dims; allowed: {self.width}, the index's width")
        return searched(self.corpus, queries, k, plan, structure=self.structure, without=self._deleted)

    @property
    def deleted(self) -> Int64[np.ndarray, " n"]:
        """Numbers of the rows that were deleted, sorted."""
        return self._deleted

    def structure(self, key: Key) -> Searchable:
        """The structure, opened if the folder has it, else built from the rows (and kept while the index is open)."""
        if key not in self._structures:
            if key.dim > self.width:
                raise DataError(f"plan: found a stage of {key.dim} dims; allowed: at most {self.width}")
            file = self.record.structures.get(str(key))
            rows = len(self.corpus)
            self._structures[key] = (
                Searchable.open(key, self.folder / file, rows)
                if file
                else Searchable.build(key, rows, self.corpus.blocks, seed=self.record.seed)
            )
        return self._structures[key]

    def forget(self, key: Key) -> None:
        """Free the memory of a structure."""
        self._structures.pop(key, None)

    def add(
        self,
        vectors: Vectors,
        *,
        ids: Sequence[str | int] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Put more rows behind the others: turned by the rotation there is, added to the structures there are.

        Nothing is learned anew; `drift` tells when that is due. `DataError` for an id that is there already.
        """
        rows, width = incoming.shape_of(vectors)
        if width != self.width:
            raise DataError(f"vectors: found width {width}; allowed: {self.width}, the index's")
        first = len(self.corpus)
        documents = incoming.documents_of(rows, ids if ids is not None else range(first, first + rows), texts)
        incoming.require_other_ids(self.corpus, documents)
        with writing(self.folder):
            self._require_latest()
            name = f"segment-{len(self.record.segments):05d}"
            with whole_folder(self.folder / name) as made:
                blocks = incoming.turned_blocks(vectors, self.rotation, normalize=self.record.normalized)
                write_segment(made, blocks, rows, width, documents=documents)
            segment = Segment.open(self.folder / name, rows, width)
            keys = [Key.named(text) for text in self.record.structures]
            for key in keys:
                self.structure(key)
            for searchable in self._structures.values():
                for block in Corpus([segment]).blocks():
                    searchable.add(block)
            self.corpus = Corpus([*self.corpus.segments, segment])
            self._write(segments={**self.record.segments, name: rows}, structures=keys)

    def delete(self, ids: Sequence[str | int]) -> None:
        """Leave these documents out of every search. `DataError` for an id that is not there.

        Rows stay on disk until the index is built again; so do their codes.
        """
        wanted = set(ids)
        rows = np.array([row for row, name in enumerate(self.corpus.ids()) if name in wanted], dtype=np.int64)
        gone = set(self.corpus.column("id", self._deleted))
        there = set(self.corpus.column("id", rows)) - gone
        if missing := sorted(map(str, wanted - there)):
            raise DataError(f"ids: found {', '.join(missing[:5])}, of which the index has none; allowed: ids it holds")
        with writing(self.folder):
            self._require_latest()
            self._deleted = np.union1d(self._deleted, rows)
            name = f"deleted-{self.record.generation + 1}.npy"
            with whole_file(self.folder / name) as file:
                np.save(file, self._deleted, allow_pickle=False)
            self._write(deleted=name)

    def drift(self) -> dict[int, float]:
        """By dim, how much less of the neighbourhoods prefixes keep now than when the rotation was learned, 0 to 1.

        The share of the 10 nearest rows at full width that a prefix keeps, then less now, on rows drawn from all. Above
        0.05 at a dim that a plan reads, build the index again from all vectors: it learns its rotation anew.
        """
        now = kept_by_prefixes(self.corpus, self.record.dims, seed=self.record.seed)
        return {dim: self.record.kept[dim] - share for dim, share in now.items()}

    def _require_latest(self) -> None:
        there = read_index(self.folder)
        if there != self.record:
            raise RunError(f"{self.folder}: another program has changed this index since it was opened; open it again")

    def _write(self, *, structures: Sequence[Key] | None = None, **changes: Any) -> None:
        """Write structures that changed, then the record that names them, then remove what it no longer names."""
        self._require_latest()
        files = dict(self.record.structures)
        generation = self.record.generation + 1
        if structures is not None:
            files = {}
            for key in structures:
                files[str(key)] = f"{key}.{generation}.faiss"
                self.structure(key).save(self.folder / files[str(key)])
        self.record = next_record(self.record, structures=files, **changes)
        write_index(self.folder, self.record)
        named = {*files.values(), self.record.deleted}
        for pattern in ("*.faiss", "deleted-*.npy"):
            for old in self.folder.glob(pattern):
                if old.name not in named:
                    old.unlink()
        sweep(self.folder)
