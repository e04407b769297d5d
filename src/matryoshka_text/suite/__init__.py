"""Suites: which tasks are scored, on which data, at which dims."""

from matryoshka_text.suite.entry import OWN_KINDS, ROLES, Kind, TaskEntry
from matryoshka_text.suite.load import load_suite, suite_names
from matryoshka_text.suite.schema import Suite

__all__ = ["OWN_KINDS", "ROLES", "Kind", "Suite", "TaskEntry", "load_suite", "suite_names"]
