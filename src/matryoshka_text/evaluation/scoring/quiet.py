"""Silence for what mteb and its libraries say at every dim and nobody can act on."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import datasets

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """No bars of `datasets`, no remark that a task has a newer version, none that some class was never predicted."""
    bars, level = datasets.is_progress_bar_enabled(), logging.getLogger("mteb").level
    datasets.disable_progress_bars()
    logging.getLogger("mteb").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*superseded.*")
            # Rare classes at small dims; the metrics are defined as 0 there.
            warnings.filterwarnings("ignore", message=".*ill-defined.*")
            yield
    finally:
        logging.getLogger("mteb").setLevel(level)
        if bars:
            datasets.enable_progress_bars()
