"""Held-out texts, for evaluation during training."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from matryoshka_text.data.faults import Faults, text_of
from matryoshka_text.data.sources import column_names, open_table, sampled
from matryoshka_text.data.tables import Table, require_columns
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import HeldOut
from matryoshka_text.recipe.wording import shown

__all__ = ["HeldOutRows", "read_held_out"]


@dataclass(frozen=True)
class HeldOutRows:
    """Two columns of texts; for `sts` the score of each pair as well."""

    name: str
    kind: Literal["sts", "pairs"]
    first: list[str]
    second: list[str]
    scores: Float[np.ndarray, " rows"] | None

    def __len__(self) -> int:
        return len(self.first)


def read_held_out(held_out: HeldOut, folder: Path, *, key: str = "evaluation.data") -> HeldOutRows:
    """The rows of `held_out`, whose files are relative to `folder`; `DataError` with the faults' places.

    A sample (`rows`) is drawn without the recipe's seed, so that runs of several seeds are scored on the same rows.
    """
    faults = Faults()
    columns = column_names(held_out)
    table = open_table(held_out, folder, tuple(columns.values()), key, faults)
    require_columns(table, columns, key)
    rows = list(_rows(held_out, table, faults))
    faults.raise_any()
    if not rows:
        raise DataError(f"{table.label}: found no rows; allowed: at least one; use other data")
    rows = [rows[i] for i in sampled(len(rows), held_out.rows, held_out.name)]
    first, second, scores = (list(column) for column in zip(*rows, strict=True))
    if held_out.kind == "pairs":
        return HeldOutRows(held_out.name, held_out.kind, first, second, None)
    if len(set(scores)) < 2:
        raise DataError(
            f"{table.label}: found {len(scores)} rows with one and the same score; "
            "allowed: at least two different scores (a rank correlation needs them); use other data"
        )
    return HeldOutRows(held_out.name, held_out.kind, first, second, np.asarray(scores, dtype=np.float64))


def _rows(held_out: HeldOut, table: Table, faults: Faults) -> Iterator[tuple[str, str, float]]:
    columns = column_names(held_out)
    roles = ("sentence1", "sentence2") if held_out.kind == "sts" else ("anchor", "positive")
    for number, row in table.rows:
        place = table.place(number)
        first, second = (text_of(row, columns[role], role, place, faults) for role in roles)
        score = _score(row, columns["score"], place, faults) if held_out.kind == "sts" else 0.0
        if first is not None and second is not None and score is not None:
            yield first, second, score


def _score(row: Mapping[str, Any], column: str, place: str, faults: Faults) -> float | None:
    cell = row.get(column)
    try:
        if isinstance(cell, str | int | float) and not isinstance(cell, bool) and math.isfinite(score := float(cell)):
            return score
    except (ValueError, OverflowError):
        pass  # a text that is no number: told below, like every other cell that is none
    faults.add(
        place,
        f"score (column {column!r}): found {shown(cell)}; allowed: a finite number; correct it, or delete the row",
    )
    return None
