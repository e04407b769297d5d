"""A recipe that is right, to be broken in one place or many."""

from collections.abc import Callable
from pathlib import Path

import pytest

GOOD = """\
name: good
base: {model: sentence-transformers/all-MiniLM-L6-v2}
dims: [12, 24, 48]
data:
  - name: nli
    file: data/nli.jsonl.gz
    kind: pairs
    columns: {anchor: premise, positive: hypothesis}
objectives:
  - {kind: distill}
  - {kind: info_nce, temperature: 5e-2}
stopping: {steps: 120}
"""


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def problems(tmp_path: Path) -> Callable[..., list[str]]:
    """The problems of a recipe: GOOD with some lines replaced and others added, places without the folder."""
    from matryoshka_text.recipe import read_recipe

    def find(*changes: tuple[str, str], add: str = "", text: str | None = None) -> list[str]:
        written = (text if text is not None else GOOD) + add
        for old, new in changes:
            assert old in written, old
            written = written.replace(old, new)
        path = tmp_path / "r.yaml"
        path.write_text(written)
        return [line.replace(f"{tmp_path}/", "") for line in read_recipe(path).problems]

    return find
