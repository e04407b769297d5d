"""Texts in, vectors on disk out: part by part, whole or not at all, going on where a run before it stopped."""

import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env
from jaxtyping import Float32

from matryoshka_text.encoder.dtype import Dtype
from matryoshka_text.encoder.prompts import Role
from matryoshka_text.encoding.manifest import FILE, JOINED, Manifest, earlier, identity, read_manifest, write_manifest
from matryoshka_text.encoding.plan import Asked, Opened, opened, planned
from matryoshka_text.encoding.vectors import (
    SUMS,
    Vectors,
    changed,
    open_vectors,
    read_part,
    read_sums,
    tidy_sums,
    write_part,
)
from matryoshka_text.errors import DataError, ModelError, RunError
from matryoshka_text.files import held, require_space, sweep
from matryoshka_text.process_group import leave_at_exit
from matryoshka_text.progress import Progress
from matryoshka_text.prompts import encode_as
from matryoshka_text.reading import Text, Texts
from matryoshka_text.records import require_same
from matryoshka_text.vectors.codec import STORED_TYPES, Stored, ranges_of, stored

__all__ = ["Encoding", "encode_file"]

log = logging.getLogger(__name__)

# Processes wait for the first one's reading of the inputs, and for the last part of the slowest.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Encoding:
    """A finished encoding: its folder, how many texts were encoded now, and whether this process is the first."""

    folder: Path
    manifest: Manifest
    encoded: int
    first: bool = True

    @property
    def vectors(self) -> Vectors:
        """All rows, mapped from disk."""
        return open_vectors(self.folder)

    @property
    def summary(self) -> str:
        """What is in the folder, in a line."""
        m = self.manifest
        new = "" if self.encoded == m.rows else f" ({self.encoded:,} encoded now)"
        return f"{self.folder}: {m.rows:,} vectors of {m.dim} dims, {m.precision}, in {m.parts} parts{new}"


def encode_file(
    model: str | Path,
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    dim: int | None = None,
    layers: int | None = None,
    dtype: Dtype = "float32",
    precision: Stored | Literal["binary"] = "float32",
    column: str = "text",
    prompt: str | None = None,
    prompt_name: str | None = None,
    role: Role | None = None,
    rows_per_part: int = 16384,
    batch_tokens: int | None = None,
    calibrate: int = 16384,
    join: bool = False,
    trust_remote_code: bool = False,
    progress: bool = False,
) -> Encoding:
    """Encode every text of `inputs` into `out`: part-00000.npy, … [rows, dim], and encoding.json.

    Texts are read as a stream: one part's are in memory. The words are those of `MatryoshkaEncoder.encode`; `role`
    "query" or "document" encodes as `encode_query` or `encode_document` does. `precision` is how coordinates are stored
    (int8: in 255 steps between the least and the greatest value among the first `calibrate` texts; ubinary, or binary:
    one bit). The same call again does only the parts that are missing or short; one that asks for other
    vectors is a `RunError`. Under `accelerate launch` every process calls this, and process r of P does parts
    r, r + P, …; P may differ from call to call, and on a CPU with the same number of threads the parts come out bit for
    bit the same. `join` adds one file, vectors.npy. `trust_remote_code`: run the Python code that the model brings
    along. Errors are `MtextError`s; those of rows name file:line and come before anything is encoded.
    """
    folder, state = Path(out), _processes()
    texts = _texts(inputs, column, state.num_processes)
    asked = Asked(
        dim=dim,
        layers=layers,
        dtype=dtype,
        precision="ubinary" if precision == "binary" else precision,
        prompt=prompt,
        prompt_name=prompt_name,
        role=role,
        rows_per_part=rows_per_part,
        batch_tokens=batch_tokens,
        calibrate=calibrate,
    )
    first = state.process_index == 0
    # Of several processes of a run the first one holds the folder for all. Only then does it look what is in it.
    with held(folder, doing="encoding") if first else nullcontext():
        there = earlier(folder) if first else None
        encoder = opened(model, asked, str(state.device), trust_remote_code=trust_remote_code)
        if first:
            _begin(folder, planned(encoder, asked, texts, there), there, encoder=encoder, texts=texts)
        state.wait_for_everyone()
        manifest = read_manifest(folder)
        job = _Job(folder, manifest, encoder, index=state.process_index, processes=state.num_processes)
        encoded = sum(gather_object([job.done(texts, progress)]))
        if first:
            _finish(folder, join=join)
        state.wait_for_everyone()
    return Encoding(folder, read_manifest(folder), encoded, first)


def _processes() -> PartialState:
    # Unlike Accelerator, PartialState does not look for the launcher's word by itself; and without it, processes
    # without a GPU would each believe to be the only one.
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or (launched and not torch.accelerator.is_available())
    state = PartialState(cpu=cpu, timeout=_PATIENCE)
    leave_at_exit()
    return state


def _texts(inputs: str | Path | Sequence[str | Path], column: str, processes: int) -> Texts:
    texts = Texts([inputs] if isinstance(inputs, str | Path) else list(inputs), column)
    if texts.from_stdin and processes > 1:
        raise DataError(f"inputs: found - with {processes} processes, which cannot share it; give a file")
    return texts


def _begin(folder: Path, wanted: Manifest, there: Manifest | None, encoder: Opened, texts: Texts) -> None:
    """Have the record in place before the first part; `there` is what an earlier run has begun."""
    if there is None:
        if not texts.head(1):
            raise DataError("standard input: found no rows; allowed: at least one text, a line each")
        if wanted.precision == "int8":
            wanted = _calibrated(wanted, encoder, texts)
        write_manifest(folder, wanted)
        return
    if texts.from_stdin:
        raise RunError(
            f"{folder}: holds the vectors of an earlier run, and standard input cannot be read again from where that "
            "stopped; give a file to be able to go on, another --out, or remove the folder"
        )
    require_same(folder, identity(there), identity(wanted), what="encoding")
    for name in (FILE, "part-*.npy", SUMS, JOINED):
        sweep(folder, f".{name}.*.part")
    if there.batch_tokens != wanted.batch_tokens:  # smaller passes, say, after memory ran out: only last bits differ
        write_manifest(folder, there.model_copy(update={"batch_tokens": wanted.batch_tokens}))


def _calibrated(wanted: Manifest, encoder: Opened, texts: Texts) -> Manifest:
    assert wanted.calibrated_on is not None
    sample = texts.head(wanted.calibrated_on)
    vectors = _encoded(encoder, wanted, sample, None)
    return wanted.model_copy(update={"ranges": ranges_of(vectors), "calibrated_on": len(sample)})


@dataclass(frozen=True)
class _Job:
    """This process's share of an encoding."""

    folder: Path
    manifest: Manifest
    encoder: Opened
    index: int
    processes: int

    def done(self, texts: Texts, shown: bool) -> int:
        """Encode what is this process's to do; how many texts that were."""
        return self.from_stdin(texts, shown) if texts.from_stdin else self.missing(texts, shown)

    def missing(self, texts: Texts, shown: bool) -> int:
        """Encode the parts that are not there yet; how many texts that were."""
        m = self.manifest
        assert m.parts is not None
        mine = range(self.index, m.parts, self.processes)
        everybodys = {part for part in range(m.parts) if read_part(self.folder, part, m) is None}
        sums = read_sums(self.folder)
        rotten = {part for part in mine if part not in everybodys and changed(self.folder, part, sums)}
        for part in sorted(rotten):
            log.warning("%s: part %d is not as it was written; its texts are encoded again", self.folder, part)
        parts = everybodys.intersection(mine) | rotten
        total = sum(map(m.rows_of, parts))
        if not parts:
            return 0
        self._require_space(sum(map(m.rows_of, everybodys | rotten)))
        share = f" (process {self.index} of {self.processes})" if self.processes > 1 else ""
        with Progress(f"encoding{share}", "texts", total, shown=shown and self.index == 0) as progress:
            for part, block in _blocks(texts, m.rows_per_part, parts):
                if len(block) != m.rows_of(part):
                    raise RunError(
                        f"{', '.join(texts.inputs)}: found {len(block)} rows for part {part}, which has "
                        f"{m.rows_of(part)}: the input has changed since it was first read; put it back"
                    )
                self._write(part, block, progress)
                block.clear()  # before the next part's texts are read
        return total

    def from_stdin(self, texts: Texts, shown: bool) -> int:
        """Encode standard input to its end, and record how much that was."""
        rows = 0
        with Progress("encoding", "texts", shown=shown) as progress:
            for part, block in _blocks(texts, self.manifest.rows_per_part, None):
                self._require_space(len(block))
                self._write(part, block, progress)
                rows += len(block)
                block.clear()
        source = self.manifest.inputs[0].model_copy(update={"rows": rows})
        write_manifest(self.folder, self.manifest.model_copy(update={"rows": rows, "inputs": (source,)}))
        return rows

    def _write(self, part: int, block: list[Text], progress: Progress) -> None:
        vectors = _encoded(self.encoder, self.manifest, block, progress)
        write_part(self.folder, part, stored(vectors, self.manifest.precision, self.manifest.ranges))

    def _require_space(self, rows: int) -> None:
        size = self.manifest.columns * STORED_TYPES[self.manifest.precision].itemsize
        require_space(self.folder, rows * size, what=f"{rows:,} vectors")


def _blocks(texts: Texts, size: int, wanted: set[int] | None) -> Iterator[tuple[int, list[Text]]]:
    """The texts of each part, in order; of the `wanted` parts only, and no further than the last of them."""
    stream = iter(texts)
    last = max(wanted) if wanted is not None else None
    for part in itertools.count():
        if last is not None and part > last:
            return
        if wanted is not None and part not in wanted:
            for _ in itertools.islice(stream, size):
                pass
            continue
        block = list(itertools.islice(stream, size))
        if not block and wanted is None:
            return
        yield part, block


def _encoded(
    encoder: Opened, manifest: Manifest, block: list[Text], progress: Progress | None
) -> Float32[np.ndarray, "rows dim"]:
    """The texts' vectors; `ModelError` naming those that are no numbers."""
    vectors: np.ndarray = encode_as(encoder.model, manifest.role or "")(
        [text.text for text in block],
        dim=manifest.dim,
        layers=manifest.layers,
        dtype=manifest.dtype,
        prompt=manifest.prompt or "",
        batch_tokens=manifest.batch_tokens,
        show_progress_bar=progress or False,
    )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        places = ", ".join(block[i].place for i in bad[:5])
        raise ModelError(
            f"{places}{', …' if len(bad) > 5 else ''}: {manifest.model} gives vectors that are no numbers for "
            f"{len(bad)} of these texts; allowed: finite numbers; try --dtype float32, or look at the model's weights"
        )
    return vectors


def _finish(folder: Path, *, join: bool) -> None:
    tidy_sums(folder)
    vectors = open_vectors(folder)
    if vectors.manifest.finished is None:
        write_manifest(folder, vectors.manifest.model_copy(update={"finished": datetime.now(UTC)}))
    if join:
        vectors.join(folder / JOINED)
