"""Suites: which tasks are scored, on which data, at which dims."""

from matryoshka_text.suite.load import load_suite, suite_names
from matryoshka_text.suite.schema import Suite, TaskEntry

__all__ = ["Suite", "TaskEntry", "load_suite", "suite_names"]
