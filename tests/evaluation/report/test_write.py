"""What is printed and written: the summary, differences, what keeps how much, at any width."""

import html
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.report.grids import detail
from matryoshka_text.evaluation.report.tables import tables
from matryoshka_text.evaluation.report.write import markdown, print_tables, write_report
from matryoshka_text.evaluation.tasks.sample import read_sample
from tests.builders import OURS, THEIRS, made


def printed(found: list[Any], width: int) -> str:
    text = io.StringIO()
    print_tables(found, Console(file=text, width=width))
    return text.getvalue()


def cells_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_the_summary_has_dims_down_and_tasks_across() -> None:
    said = printed(tables(*made(4)), 120)
    assert "<b>ours</b> & co: main scores x 100, over 4 of 4 tasks" in said
    assert ["dim", "vector", *(f"TaskNumber{n}" for n in range(4)), "Mean", "full", "width"] in cells_of(said)
    assert ["8", "32", "65.00", "66.00", "67.00", "68.00", "66.50", "81.6%"] in cells_of(said)
    assert ["64", "256", "80.00", "81.00", "82.00", "83.00", "81.50", "100.0%"] in cells_of(said)


@pytest.mark.parametrize(("width", "heads"), [(200, "PairClassification"), (100, "Class."), (80, "Class.")])
def test_types_stand_across_where_41_tasks_do_not_fit(width: int, heads: str) -> None:
    said = printed(tables(*made(41)), width)
    assert heads in said
    assert "TaskNumber7" not in said
    assert said.rstrip().endswith("The 41 tasks one by one: results.md and report.html.")
    in_tables = [line for line in said.splitlines() if line[:1] == " " and not line.startswith("  °")]
    assert max(map(len, in_tables)) <= width


def test_the_mean_alone_where_nothing_else_fits() -> None:
    said = printed(tables(*made(41)), 50)
    assert ["dim", "vector", "Mean", "kinds", "width"] in cells_of(said)


def test_each_other_column_has_its_differences(known: Callable[..., Any]) -> None:
    planned, rows = made(4, precisions=("float32", "int8"), baselines=("random",))
    said = printed(tables(planned, rows, known(lambda *_: (0.5, 2.5))), 120)
    for label in ("theirs[/red]|$x$", "FF", "theirs[/red]|$x$ random", "<b>ours</b> & co int8"):
        assert f"<b>ours</b> & co against {label}: points above it (+) or below it (-)" in said
    theirs = said[said.index("against theirs[/red]|$x$:") :]
    assert ["8", "32", "+1.00*", "+1.00*", "+1.00*", "+1.00*", "+1.00*"] in cells_of(theirs)
    assert said.count("* real: the 95% paired bootstrap interval of the difference does not hold 0") == 1
    alone = said[said.index("against FF:") : said.index("against <b>ours</b> & co int8")]
    assert [line[0] for line in cells_of(alone) if line and line[0].rstrip("°").isdigit()] == ["8"]


def test_dims_that_were_not_trained_are_marked_and_explained_once() -> None:
    said = printed(tables(*made(4)), 120)
    assert "24°" in said and "8°" not in said and "64°" not in said
    assert said.count("° not trained: interpolated (<b>ours</b> & co was trained at 8, 32, 64)") == 1


def test_what_keeps_how_much() -> None:
    said = printed(tables(*made(2)), 100)
    assert ["that", "keeps", "99%", "95%", "90%"] in cells_of(said)
    assert ["Mean", "64", "64", "24"] in cells_of(said) and ["TaskNumber1", "64", "64", "24"] in cells_of(said)
    many = printed(tables(*made(14)), 100)
    assert ["Retrieval", "64", "64", "24"] in cells_of(many)


def test_up_to_three_tasks_are_printed_in_full() -> None:
    assert "TaskNumber2: <b>ours</b> & co (accuracy x 100, test split)" in printed(tables(*made(3)), 120)
    assert "TaskNumber2: " not in printed(tables(*made(4)), 120)


def test_one_task_needs_no_summary() -> None:
    said = printed(tables(*made(1)), 120)
    assert "over 1 of" not in said and "against" not in said
    assert ["8", "32", "65.00", "81.2%", "64.00", "+1.00", "63.00", "+2.00"] in cells_of(said)
    assert ["TaskNumber0", "64", "64", "24"] in cells_of(said)


def test_a_narrow_terminal_gets_the_other_columns_in_parts() -> None:
    planned, rows = made(1, precisions=("float32", "int8", "binary"), baselines=("random", "pca"))
    said = printed(tables(planned, rows), 80)
    assert max(map(len, (line for line in said.splitlines() if line[:1] == " "))) <= 80
    # Every part names its dims again.
    assert len([line for line in cells_of(said) if line[:2] == ["8", "32"]]) > 1
    assert "in brackets: largest - smallest draw" in said and "(2.00)" in said


def test_one_dim_and_scores_below_zero() -> None:
    planned, rows = made(2, dims=(), subjects=(OURS,))
    below = [row.model_copy(update={"score": -row.score}) for row in rows]
    said = printed(tables(planned, below), 80)
    assert ["64", "256", "-80.00", "-81.00", "-80.50", "-"] in cells_of(said)
    assert ["Mean", "-", "-", "-"] in cells_of(said)


def test_a_column_without_a_dim_in_common_says_so() -> None:
    planned, rows = made(2, subjects=(OURS, THEIRS))
    some = [row for row in rows if row.model == OURS.name or row.dim == 32]
    some = [row for row in some if row.model != OURS.name or row.dim != 32]
    assert "theirs[/red]|$x$ has no score at a dim at which <b>ours</b> & co has one" in printed(
        tables(planned, some), 120
    )


def test_nothing_to_print() -> None:
    assert printed([], 80) == ""


def test_text_and_markdown_say_the_same(known: Callable[..., Any]) -> None:
    planned, rows = made(1, subjects=(OURS, THEIRS), baselines=("random",))
    table = tables(planned, rows, known(lambda tasks, dim, column: (1.0, 2.0) if dim == 8 else None))[0]
    lines = markdown(table).splitlines()
    assert lines[0] == "### TaskNumber0"
    first = "| dim | bytes a vector | score | share of full width | theirs[/red]\\|$x$ | difference |"
    assert lines[4] == first + " theirs[/red]\\|$x$ random | difference |"
    assert lines[6] == (
        "| 8 | 32 | 65.00 [40.00, 99.00] | 81.2% | 64.00 [40.00, 99.00] | +1.00* | 63.00 (2.00) | +2.00* |"
    )
    assert "in square brackets: 95% bootstrap interval" in lines
    assert ["8", "32", "65.00", "81.2%", "64.00", "+1.00*", "63.00", "(2.00)", "+2.00*"] in cells_of(
        printed([table], 140)
    )


def test_the_report_is_five_files(tmp_path: Path) -> None:
    planned, rows = made(9)
    write_report(tmp_path, tables(planned, rows), planned, rows, failures=["One · theirs: DataError: gone"])
    names = ["curve.png", "curve.svg", "report.html", "results.md", "table.txt"]
    assert sorted(one.name for one in tmp_path.iterdir()) == names
    page = (tmp_path / "results.md").read_text()
    assert "* theirs[/red]|$x$: org/theirs, hub, weights sha256 bbbbbbbbbbbbbbbb" in page
    assert "2026-01-02; prefixes brought back to length 1 before scoring" in page
    assert "FF is at each dim the model trained at that dim only" in page
    assert "**Failed, and in no table:**\n\n* One · theirs: DataError: gone\n" in page
    heads = [line for line in page.splitlines() if line.startswith("### ")]
    assert heads[:4] == ["### Summary", "### Against theirs[/red]|$x$", "### Against FF", heads[3]]
    assert heads[4:] == [*(f"### TaskNumber{n}" for n in range(9)), "### Mean", "### Mean over kinds"]
    assert "The 9 tasks one by one" in (tmp_path / "table.txt").read_text()


def test_a_model_that_could_not_be_scored_leaves_the_others_scores(tmp_path: Path) -> None:
    planned, rows = made(5)
    others = [row for row in rows if row.model == THEIRS.name]
    found = tables(planned, others)
    write_report(tmp_path, found, planned, others, failures=["every task: gone"])
    assert "| 8 | 32 | - | - | 64.00 [40.00, 99.00] | - |" in (tmp_path / "results.md").read_text()
    assert "<b>ours</b> & co" in printed(found, 100)


def test_what_a_star_is_made_of_is_said(known: Callable[..., Any]) -> None:
    planned, rows = made(3, baselines=("random",), kinds=("Clustering", "STS", "Clustering"))
    found = tables(planned, rows, known(lambda *_: (0.5, 2.5)))
    said = printed(found, 120)
    mean = "of a mean: the items of each of its tasks are drawn again"
    draws = "of a method that draws: the draws are drawn again with the items"
    clustering = "of clustering: the items are the task's few experiments or sets (mostly ten), not its texts"
    assert [said.count(words) for words in (mean, draws, clustering)] == [1, 1, 1]
    assert said.index(draws) > said.index("against theirs[/red]|$x$ random:")
    unsure = printed(tables(planned, rows, known(lambda *_: (-0.5, 2.5))), 120)
    assert clustering not in unsure and mean in unsure
    assert "independent" not in said
    (alone,) = tables(*made(1), known(lambda *_: (0.5, 2.5)))
    assert mean not in markdown(alone) and draws not in markdown(alone)


def test_names_that_look_like_tags_are_shown_in_markdown(tmp_path: Path) -> None:
    planned, rows = made(1, subjects=(OURS, THEIRS))
    write_report(tmp_path, tables(planned, rows), planned, rows, failures=["<i>Task</i>: gone"])
    page = (tmp_path / "results.md").read_text()
    assert "<" not in page.replace("\\<", "")
    assert page.startswith("# \\<b>ours\\</b> & co, suite x\n")
    assert "\n\\<b>ours\\</b> & co; accuracy x 100, test split.\n" in page
    assert "* \\<i>Task\\</i>: gone" in page


def test_a_section_without_rows_has_no_double_blank(tmp_path: Path) -> None:
    planned, rows = made(2, subjects=(OURS, THEIRS))
    some = [row for row in rows if row.model == OURS.name or row.dim == 32]
    some = [row for row in some if row.model != OURS.name or row.dim != 32]
    write_report(tmp_path, tables(planned, some), planned, some)
    page = (tmp_path / "results.md").read_text()
    assert "### Against theirs[/red]|$x$\n\ntheirs[/red]|$x$ has no score at a dim at which" in page
    assert "\n\n\n" not in page


def test_rows_in_which_the_shown_columns_have_nothing_are_left_out() -> None:
    wide = Subject("org/wide", "wide", Path("/w"), "hub", "d" * 64, 128, None)
    planned, rows = made(1, subjects=(OURS, THEIRS, wide))
    (table,) = tables(planned, rows)
    assert 128 in table.dims
    assert [row[0] for row in detail(table, [1]).rows] == ["8", "24°", "32", "64"]
    assert [row[0] for row in detail(table, [2]).rows] == ["8", "24°", "32", "64", "128"]


def test_bytes_say_their_precision_where_others_stand_beside() -> None:
    planned, rows = made(2, subjects=(OURS,), precisions=("float32", "binary"))
    said = printed(tables(planned, rows), 120)
    assert "bytes in" in said and "bytes a" not in said
    assert "| dim | bytes in float32 | score |" in markdown(tables(planned, rows)[0])
    assert "| dim | bytes a vector | score |" in markdown(tables(*made(1))[0])


def test_types_of_one_task_are_not_said_twice(tmp_path: Path) -> None:
    planned, rows = made(3, kinds=("STS", "Retrieval", "STS"))
    write_report(tmp_path, tables(planned, rows), planned, rows)
    page = (tmp_path / "results.md").read_text()
    kept = page[page.index("### Smallest dim") :].split("\n\n")[1].splitlines()[2:]
    titles = [line.split("|")[1].strip() for line in kept]
    assert titles == ["Mean", "Mean over kinds", "STS", "TaskNumber0", "TaskNumber1", "TaskNumber2"]


def test_sample_draws_prompts_seed_and_rounds_stand_beside_the_numbers(tmp_path: Path) -> None:
    sample = tmp_path / "texts.txt"
    sample.write_text("".join(f"text {n}\n" for n in range(12)))
    how: dict[str, Any] = {"precisions": ("float32", "int8"), "baselines": ("random", "pca")}
    planned, rows = made(2, sample=str(sample), seed=4, draws=2, prompts={"STS": 'find "x": '}, **how)
    whole = read_sample(planned.suite)
    less = whole.without({"text 3"})
    digests = {("TaskNumber1", "pca"): less.digest}
    fitted = [
        row.model_copy(update={"sample": digests.get((row.task, row.method), whole.digest)})
        if row.method == "pca" or row.precision == "int8"
        else row
        for row in rows
    ]
    write_report(tmp_path, tables(planned, fitted), planned, fitted)
    for name in ("results.md", "report.html"):
        said = html.unescape((tmp_path / name).read_text())
        assert (
            f"ample for int8, pca: 12 texts of texts.txt (sha256 {whole.digest[:12]}); components less the texts that "
            f"the task has too: TaskNumber1 (sha256 {less.digest[:12]})" in said
        )
        assert "andom: 2 draws, seeds 4, 5" in said
        assert 'rompts: STS "find \\"x\\": " (of the suite); else those of the models' in said
        assert "eed of the suite: 4; 95% intervals: 1,000 rounds of the bootstrap" in said


def test_without_a_sample_none_is_read_or_told(tmp_path: Path) -> None:
    planned, rows = made(1, sample="gone.txt", draws=1, baselines=("projection",))
    write_report(tmp_path, tables(planned, rows), planned, rows)
    said = (tmp_path / "results.md").read_text()
    assert "sample" not in said
    assert "* prompts: those of the models\n" in said
    assert "* projection: one draw, seed 0; differences to it say nothing of other draws\n" in said
