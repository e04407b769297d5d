"""The curve's panels and files."""

import re
from pathlib import Path

import pytest

from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.report.plot import panels_of, write_curve
from matryoshka_text.evaluation.report.tables import tables, type_means
from tests.builders import OURS, THEIRS, TYPES, made


@pytest.mark.parametrize("count", [1, 4, 13])
def test_any_number_of_panels(tmp_path: Path, count: int) -> None:
    write_curve(tmp_path, tables(*made(count)))
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "curve.svg").read_text().rstrip().endswith("</svg>")


def test_many_tasks_are_shown_by_their_types() -> None:
    found = tables(*made(41))
    assert [table.title for table in panels_of(found)] == [*TYPES, "Mean", "Mean over kinds"]
    assert [table.title for table in panels_of(found[:12])] == [f"TaskNumber{n}" for n in range(12)]
    of_one_type = tables(*made(41, kinds=("STS",)))
    assert [table.title for table in panels_of(of_one_type)] == ["Mean"]
    assert type_means(of_one_type) == []


def test_the_svg_keeps_its_text_and_is_the_same_each_time(tmp_path: Path) -> None:
    found = tables(*made(2, precisions=("float32", "int8", "binary"), baselines=("random", "pca", "svd")))
    for folder in ("a", "b"):
        write_curve(tmp_path / folder, found)
    first, second = ((tmp_path / folder / "curve.svg").read_text() for folder in ("a", "b"))
    assert first == second
    assert ">TaskNumber1</text>" in first and "&lt;b&gt;ours&lt;/b&gt; &amp; co binary</text>" in first
    assert "<dc:date>" not in first


def test_dims_that_were_not_trained_are_hollow(tmp_path: Path) -> None:
    def faces(dims: tuple[int, ...]) -> int:
        write_curve(tmp_path, tables(*made(1, dims=dims, subjects=(OURS, THEIRS))))
        return len(re.findall(r"<use [^>]*fill: #ffffff", (tmp_path / "curve.svg").read_text()))

    # Of the model alone: nothing says at which dims the other was trained.
    assert (faces((8, 32)), faces((8, 24, 32)), faces((8, 16, 24, 32))) == (0, 1, 2)


def test_one_dim_and_a_label_that_matplotlib_would_hide(tmp_path: Path) -> None:
    hidden = Subject("local/_x", "_x", Path("/m"), "folder", "d" * 64, 64, None)
    write_curve(tmp_path, tables(*made(1, dims=(), subjects=(hidden,))))
    assert "_x</text>" in (tmp_path / "curve.svg").read_text()
