"""What a score is made of: a number for each pair, query, text or experiment, and the files such numbers are kept in.

items/<org>__<name>/<weights, 12 digits>/<task>.<split>.<16 digits of the row's key>.safetensors: one file a row.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64
from safetensors import SafetensorError, safe_open

from matryoshka_text.arrays import packed
from matryoshka_text.errors import DataError
from matryoshka_text.files import write_whole
from matryoshka_text.rows import Row

__all__ = ["Items", "Kind", "Part", "items_path", "read_items", "write_items"]

Kind = Literal["mean", "spearman", "precision"]
_FORMAT = "matryoshka-text items 1"


@dataclass(frozen=True)
class Part:
    """The items of one subset (language) of a task, and how a score comes out of them.

    mean: of `values[0]`; rounded to `digits` if mteb rounds it.
    spearman: rank correlation of the similarities `values[0]` with `gold`.
    precision: sklearn's average precision of each row of `values` for the labels `gold` (1: similar), the highest.
    `identity` is a digest of what the items are (gold scores, labels, query ids): only equal ones can be paired.
    """

    kind: Kind
    values: Float64[np.ndarray, "k n"]
    identity: str
    gold: Float64[np.ndarray, " n"] | None = None
    digits: int | None = None

    def score(self) -> float:
        """What mteb computes from these items, as a share of 1."""
        from scipy.stats import spearmanr
        from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

        if self.kind == "spearman":
            return float(spearmanr(self.gold, self.values[0])[0])
        if self.kind == "precision":
            return max(float(average_precision_score(self.gold, row)) for row in self.values)
        mean = fmean(self.values[0].tolist())
        return mean if self.digits is None else round(mean, self.digits)


@dataclass(frozen=True)
class Items:
    """The items behind one row: a part for each subset that was scored, most often one."""

    parts: tuple[Part, ...]

    def score(self) -> float:
        """The main score of mteb, as a share of 1 (a row has it x 100): the mean over the subsets, as mteb takes it."""
        return fmean(part.score() for part in self.parts)

    def pairs_with(self, other: "Items") -> bool:
        """Whether the other score was made of the very same items."""
        return [(one.kind, one.identity) for one in self.parts] == [(one.kind, one.identity) for one in other.parts]


def items_path(out: Path, row: Row) -> Path:
    """Where the row's items are kept, below the folder of an evaluation: rows of one `key` share a file."""
    digest = hashlib.sha256(json.dumps(row.key).encode()).hexdigest()[:16]
    name = f"{row.task}.{row.split}".replace("/", "__")
    return out / "items" / row.model.replace("/", "__") / row.weights[:12] / f"{name}.{digest}.safetensors"


def write_items(path: Path, items: Items) -> None:
    """The file, whole or not at all. Numbers are kept in float64: fewer digits would make ranks equal."""
    tensors = {}
    for number, part in enumerate(items.parts):
        tensors[f"{number}.values"] = np.ascontiguousarray(part.values, dtype=np.float64)
        if part.gold is not None:
            tensors[f"{number}.gold"] = np.ascontiguousarray(part.gold, dtype=np.float64)
    about = [{"kind": part.kind, "identity": part.identity, "digits": part.digits} for part in items.parts]
    write_whole(path, packed(tensors, {"format": _FORMAT, "parts": json.dumps(about)}))


def read_items(path: Path) -> Items | None:
    """The items of a file; None if there is no file, `DataError` for one that holds no items."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            if about.get("format") != _FORMAT:
                raise ValueError(f"its format is {about.get('format')!r}, not {_FORMAT!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        described = json.loads(about["parts"])
        parts = tuple(
            _part(tensors[f"{number}.values"], tensors.get(f"{number}.gold"), **one)
            for number, one in enumerate(described)
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: holds no items of an evaluation ({error}); remove the file: the next evaluation writes it again"
        ) from error
    return Items(parts)


def _part(values: np.ndarray, gold: np.ndarray | None, kind: Kind, identity: str, digits: int | None) -> Part:
    """The part read from a file; ValueError if its arrays do not fit together."""
    whole = values.dtype == np.float64 and values.ndim == 2 and values.size > 0
    if kind not in get_args(Kind) or not whole or (kind == "mean") != (gold is None):
        raise ValueError(f"found kind {kind!r} with {values.dtype} {values.shape}")
    if gold is not None and (gold.dtype != np.float64 or gold.shape != values.shape[1:]):
        raise ValueError(f"found {gold.dtype} {gold.shape} for values {values.shape}")
    return Part(kind, values, str(identity), gold=gold, digits=digits)
