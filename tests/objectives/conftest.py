import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def rows_of_pairs() -> Callable[[Path], Path]:
    """rows_of_pairs(folder): a file of 12 pairs, all texts different."""

    def write(folder: Path) -> Path:
        path = folder / "rows.jsonl"
        rows = [{"anchor": f"the cat number {i}", "positive": f"a dog number {i}"} for i in range(12)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write
