"""Full-width vectors on disk, one folder per model, encoding and task, so that no text is encoded twice."""

import hashlib
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from matryoshka_text.errors import EvaluationError, RunError
from matryoshka_text.files import write_whole

__all__ = ["VectorStore", "text_key"]

log = logging.getLogger(__name__)


def text_key(role: str, prompt: str | None, text: str) -> bytes:
    """The 32 bytes under which a text's vector is kept: sha256 over role (query, document or none), prompt and text."""
    head = f"{role}\0{'-' if prompt is None else '+' + prompt}\0"
    return hashlib.sha256((head + text).encode("utf-8", "surrogatepass")).digest()


class VectorStore:
    """Vectors by key, in `folder` as shards that are written whole or not at all and read where they lie.

    A shard holds `keys` (uint8 [n, 32]), `vectors` (float32 [n, width]) and the sha256 of both. One that is cut short,
    whose bytes have changed, or that is of another width, is removed, and its texts count as missing; one that the
    system does not let us read is left alone, and `RunError` says so. Several
    programs may add to one folder at once: at worst two encode the same text. Only the keys are in memory; vectors are
    mapped, so the system may drop them at any time.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder = folder
        self.width = width
        self._place: dict[bytes, int] = {}
        self._shards: list[np.ndarray] = []
        self._starts: list[int] = [0]
        for shard in sorted(folder.glob("*.safetensors")):
            self._read(shard)

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, key: bytes) -> bool:
        return key in self._place

    def add(self, keys: Sequence[bytes], vectors: Float32[np.ndarray, "n width"]) -> None:
        """Keep the vectors. OSError if the disk is full; the store is then as before."""
        names = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), 32)
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if vectors.shape != (len(keys), self.width):
            raise EvaluationError(
                f"{self.folder}: the model gives vectors of shape {vectors.shape} for {len(keys)} texts, and its "
                f"configuration says width {self.width}; mend its config.json or its modules"
            )
        shard = self.folder / f"{hashlib.sha256(names.tobytes()).hexdigest()[:24]}.safetensors"
        write_whole(shard, save({"keys": names, "vectors": vectors}, {"sha256": _digest(names, vectors)}))
        self._read(shard)

    def prefixes(self, keys: Sequence[bytes], dim: int) -> Float32[np.ndarray, "n dim"]:
        """The first `dim` coordinates of each key's vector, in the order of `keys`; KeyError for a key not kept."""
        rows = np.fromiter((self._place[key] for key in keys), dtype=np.int64, count=len(keys))
        found = np.empty((len(keys), dim), dtype=np.float32)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(shards, kind="stable")
        ends = np.searchsorted(shards[order], np.arange(len(self._shards)), side="right")
        for number, places in enumerate(np.split(order, ends)[: len(self._shards)]):
            self._copy(number, rows[places], places, found)
        return found

    def _copy(
        self, number: int, rows: Int64[np.ndarray, " k"], places: Int64[np.ndarray, " k"], into: np.ndarray
    ) -> None:
        if len(rows):
            into[places] = self._shards[number][rows - self._starts[number], : into.shape[1]]

    def _read(self, shard: Path) -> None:
        try:
            keys, vectors = _mapped(shard)
            if vectors.shape != (len(keys), self.width) or keys.shape[1:] != (32,):
                raise ValueError(f"holds {keys.shape} keys and {vectors.shape} vectors, expected width {self.width}")
        except FileNotFoundError:
            return  # another program has just removed it
        except OSError as error:
            raise RunError(
                f"{shard}: cannot be read ({error.strerror or error}); nothing was removed. Mend the disk or the "
                "file's permissions and run the same command again, or remove the file: its texts are encoded again"
            ) from error
        except (KeyError, ValueError, SafetensorError) as error:
            log.warning("%s: holds no vectors (%s); removed, its texts are encoded again", shard, error)
            shard.unlink(missing_ok=True)
            return
        start = self._starts[-1]
        # A text that two programs encoded keeps the vector that was read first.
        for row, key in enumerate(keys):
            self._place.setdefault(key.tobytes(), start + row)
        self._shards.append(vectors)
        self._starts.append(start + len(keys))


def _digest(keys: np.ndarray, vectors: np.ndarray) -> str:
    found = hashlib.sha256(keys.data)
    found.update(vectors.data)
    return found.hexdigest()


def _mapped(shard: Path) -> tuple[np.ndarray, np.ndarray]:
    """Keys (read) and vectors (mapped: the library would read them) of a shard. ValueError for what is not one."""
    with shard.open("rb") as handle:
        handle.read(8)  # what the library calls a damaged file may be one that the system does not let us read
    with safe_open(shard, framework="numpy") as file:
        keys, found = file.get_tensor("keys"), file.get_slice("vectors")
        shape, dtype, told = tuple(found.get_shape()), found.get_dtype(), (file.metadata() or {}).get("sha256")
    if keys.dtype != np.uint8 or dtype != "F32" or len(shape) != 2:
        raise ValueError(f"holds {keys.dtype} keys and {dtype} {shape} vectors")
    # The library puts wider numbers first: vectors, then keys, then the end of the file.
    offset = shard.stat().st_size - keys.nbytes - 4 * math.prod(shape)
    vectors = np.memmap(shard, np.float32, "r", offset=offset, shape=shape)
    if _digest(keys, vectors) != told:
        raise ValueError("its bytes are not those that were written")
    return keys, vectors
