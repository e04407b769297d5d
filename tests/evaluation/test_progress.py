"""The bar is for terminals alone."""

import io

from rich.console import Console

from matryoshka_text.evaluation.run import progress_bar


def test_a_terminal_sees_title_and_counts() -> None:
    seen = io.StringIO()
    with progress_bar(Console(file=seen, force_terminal=True, width=100), "[1/3] STS13 · model") as on_progress:
        on_progress(1, 4)
        on_progress(4, 4)
    assert "[1/3] STS13 · model" in seen.getvalue() and "4/4" in seen.getvalue()


def test_a_file_sees_nothing() -> None:
    seen = io.StringIO()
    with progress_bar(Console(file=seen), "title") as on_progress:
        on_progress(1, 2)
    assert seen.getvalue() == ""
