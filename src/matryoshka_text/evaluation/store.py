"""Full-width vectors on disk, one folder per model, encoding and task, so that no text is encoded twice."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from matryoshka_text.files import write_whole

__all__ = ["VectorStore", "text_key"]

log = logging.getLogger(__name__)


def text_key(role: str, prompt: str | None, text: str) -> bytes:
    """The 32 bytes under which a text's vector is kept: sha256 over role (query, document or none), prompt and text."""
    head = f"{role}\0{'-' if prompt is None else '+' + prompt}\0"
    return hashlib.sha256((head + text).encode("utf-8", "surrogatepass")).digest()


class VectorStore:
    """Vectors by key, in memory for one task and in `folder` as shards that are written whole or not at all.

    A shard holds `keys` (uint8 [n, 32]) and `vectors` (float32 [n, width]). One that cannot be read, or is of another
    width, is removed and its texts count as missing.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder = folder
        self.width = width
        self._place: dict[bytes, int] = {}
        self._pieces: list[np.ndarray] = [np.empty((0, width), dtype=np.float32)]
        for shard in sorted(folder.glob("*.safetensors")):
            self._read(shard)

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, key: bytes) -> bool:
        return key in self._place

    def add(self, keys: Sequence[bytes], vectors: Float32[np.ndarray, "n width"]) -> None:
        """Keep the vectors, on disk before in memory."""
        names = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), 32)
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        shard = self.folder / f"{hashlib.sha256(names.tobytes()).hexdigest()[:24]}.safetensors"
        write_whole(shard, save({"keys": names, "vectors": vectors}))
        self._remember(names, vectors)

    def prefixes(self, keys: Sequence[bytes], dim: int) -> Float32[np.ndarray, "n dim"]:
        """The first `dim` coordinates of each key's vector, in the order of `keys`; KeyError for a key not kept."""
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        rows = np.fromiter((self._place[key] for key in keys), dtype=np.int64, count=len(keys))
        return np.ascontiguousarray(self._pieces[0][:, :dim][rows])

    def _read(self, shard: Path) -> None:
        try:
            tensors = load_file(shard)
            keys, vectors = tensors["keys"], tensors["vectors"]
            if vectors.shape != (len(keys), self.width) or keys.shape[1:] != (32,):
                raise ValueError(f"holds {keys.shape} keys and {vectors.shape} vectors, expected width {self.width}")
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            log.warning("%s: unreadable (%s); removed, its texts are encoded again", shard, error)
            shard.unlink(missing_ok=True)
            return
        self._remember(keys, vectors)

    def _remember(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        start = sum(map(len, self._pieces))
        self._place.update((key.tobytes(), start + row) for row, key in enumerate(keys))
        self._pieces.append(vectors)
