"""What the verbs say while they work: our own progress, others' warnings only."""

import logging

__all__ = ["quietly"]


def quietly() -> None:
    """Show our messages and others' warnings, without a bar for each file of weights."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("matryoshka_text").setLevel(logging.INFO)

    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
