"""Rotations: an orthogonal matrix that makes prefixes better and leaves full width as it is. Knows vectors only."""

from matryoshka_text.rotation.fit import Check, FitSettings, Step, fit_rotation
from matryoshka_text.rotation.kept import SHARES, dims_to_look_at, neighbours_kept, smallest_dims
from matryoshka_text.rotation.learn import Learned, SourceKept, kept_by_source, learn, learn_from, mean_kept
from matryoshka_text.rotation.matrix import Rotation
from matryoshka_text.rotation.sources import Split, split_sources

__all__ = [
    "SHARES",
    "Check",
    "FitSettings",
    "Learned",
    "Rotation",
    "SourceKept",
    "Split",
    "Step",
    "dims_to_look_at",
    "fit_rotation",
    "kept_by_source",
    "learn",
    "learn_from",
    "mean_kept",
    "neighbours_kept",
    "smallest_dims",
    "split_sources",
]
