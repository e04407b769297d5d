"""Held-out texts, for evaluation during training."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from matryoshka_text.data.kinds import column_names, examples_in
from matryoshka_text.data.sources import open_section, sampled
from matryoshka_text.errors import DataError
from matryoshka_text.reading import Faults, require_columns
from matryoshka_text.recipe import HeldOut
from matryoshka_text.recipe.sources import prompt_names

__all__ = ["HeldOutRows", "read_held_out"]


@dataclass(frozen=True)
class HeldOutRows:
    """One or two columns of texts: `second` is empty for labelled and plain text.

    `scores` are those of an `sts` set's pairs, `labels` the classes of a labelled set's texts. `place(row)` is
    `table:numbers[row]`. `prompts` names those of the columns, as `prompt_names` gives them.
    """

    name: str
    kind: Literal["sts", "pairs", "labelled", "text"]
    first: list[str]
    second: list[str]
    scores: Float[np.ndarray, " rows"] | None
    labels: list[str] | None = None
    numbers: list[int] = field(default_factory=list)
    table: str = ""
    prompts: tuple[str | None, ...] = (None,)

    def __len__(self) -> int:
        return len(self.first)

    def place(self, row: int) -> str:
        """Where row `row` came from: data/test.jsonl:17."""
        return f"{self.table}:{self.numbers[row]}"


def read_held_out(held_out: HeldOut, folder: Path, *, key: str = "evaluation.data") -> HeldOutRows:
    """The rows of `held_out`, whose files are relative to `folder`; `DataError` with the faults' places.

    A sample (`rows`) is drawn without the recipe's seed, so that runs of several seeds are scored on the same rows.
    """
    faults = Faults()
    columns = column_names(held_out)
    table = open_section(held_out, folder, faults, key=key)
    require_columns(table, columns, key)
    found = list(examples_in(table, held_out, faults))
    faults.raise_any()
    if not found:
        raise DataError(f"{table.label}: found no rows; allowed: at least one; use other data")
    found = [found[i] for i in sampled(len(found), held_out.rows, held_out.name)]
    values = [example.value for example in found]
    if held_out.kind == "sts" and len(set(values)) < 2:
        raise DataError(
            f"{table.label}: found {len(found)} rows with one and the same score; "
            "allowed: at least two different scores (a rank correlation needs them); use other data"
        )
    return HeldOutRows(
        name=held_out.name,
        kind=held_out.kind,
        first=[example.texts[0] for example in found],
        second=[example.texts[1] for example in found if len(example.texts) > 1],
        scores=np.asarray(values, dtype=np.float64) if held_out.kind == "sts" else None,
        labels=[str(value) for value in values] if held_out.kind == "labelled" else None,
        numbers=[example.number for example in found],
        table=table.label,
        prompts=prompt_names(held_out, len(found[0].texts)),
    )
