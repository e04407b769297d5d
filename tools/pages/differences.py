"""Paired intervals kept next to committed rows: the items they come from are too large to be committed.

    python -m tools.pages.differences eval/results/<name> <folder of an evaluation>...

writes differences.jsonl there: one line for each difference to the first column whose items are all at hand.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from matryoshka_text.errors import DataError, MtextError
from matryoshka_text.files import write_whole
from matryoshka_text.rows import Row, read_rows
from tools.pages.board import Board, Sheet
from tools.pages.records import Baselines, Compared, read_record

__all__ = ["Difference", "main", "read_differences"]

_FILE = "differences.jsonl"


class Difference(BaseModel):
    """A column's score less the first column's, in points, with the 95% bounds of the paired bootstrap."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    table: str
    dim: int
    column: str
    difference: float
    low: float
    high: float

    @property
    def real(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def read_differences(folder: Path, board: Board) -> dict[tuple[str, int, str], Difference]:
    """What is kept next to the rows, by table, dim and column; {} if there is nothing.

    `DataError` for a line that is none, or one that the rows do not give any more.
    """
    path = folder / _FILE
    if not path.exists():
        return {}
    sheets = {sheet.title: sheet for sheet in board.sheets()}
    columns = {column.label: column for column in board.columns}
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            one = Difference.model_validate_json(line)
        except ValidationError as error:
            raise DataError(
                f"{path}:{number}: is no difference ({error.errors()[0]['msg']}); {_way_out(path)}"
            ) from error
        known = one.table in sheets and one.column in columns
        gap = board.difference(columns[one.column], sheets[one.table], one.dim) if known else None
        if gap is None or abs(gap - one.difference) > 1e-6:
            raise DataError(
                f"{path}:{number}: {one.table}, {one.dim} dims, {one.column}: found a difference of "
                f"{one.difference:+.4f}, the rows give {'none' if gap is None else f'{gap:+.4f}'}; {_way_out(path)}"
            )
        found[one.table, one.dim, one.column] = one
    return found


def _way_out(path: Path) -> str:
    command = f"python -m tools.pages.differences {path.parent} OUT..."
    return f"write it again: {command}, or remove the file"


def _differences(board: Board, outs: Sequence[Path], seed: int, rounds: int) -> Iterator[Difference]:
    from matryoshka_text.evaluation.scoring.compare import Resamples

    resamples = Resamples(*outs, seed=seed, rounds=rounds)
    for sheet in board.sheets():
        for dim in board.dims:
            for column in board.columns[1:]:
                gap = board.difference(column, sheet, dim)
                sides = _sides(board, sheet, dim, column)
                found = None if gap is None else resamples.mean_difference(sides, sheet.weights)
                if gap is not None and found is not None:
                    yield Difference(
                        table=sheet.title, dim=dim, column=column.label, difference=gap, low=found[0], high=found[1]
                    )


def _sides(board: Board, sheet: Sheet, dim: int, column: Compared) -> Iterator[tuple[Sequence[Row], Sequence[Row]]]:
    """The column's rows and the first column's, task by task."""
    for place in sheet.places:
        yield board.rows(column, place, dim), board.rows(board.columns[0], place, dim)


def main(words: Sequence[str] | None = None) -> int:
    """Write the file, and say how many differences are known and how many of them real."""
    parser = argparse.ArgumentParser(description="Write paired intervals next to committed rows.")
    parser.add_argument("folder", type=Path, help="eval/results/<name>, with baselines.yaml and rows.jsonl")
    parser.add_argument("outs", type=Path, nargs="+", help="folders of the evaluations that gave the rows (--out)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling")
    parser.add_argument("--rounds", type=int, default=1000, help="of the resampling")
    asked = parser.parse_args(words)
    try:
        about = read_record(asked.folder / "baselines.yaml", Baselines)
        board = Board(about, read_rows(asked.folder / "rows.jsonl"))
    except MtextError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    found = list(_differences(board, asked.outs, asked.seed, asked.rounds))
    write_whole(asked.folder / _FILE, "".join(one.model_dump_json() + "\n" for one in found))
    sys.stdout.write(
        f"{asked.folder / _FILE}: {len(found)} differences, {sum(one.real for one in found)} of them real\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
