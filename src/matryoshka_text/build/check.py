"""Everything that can be known to be wrong with a recipe before it is run: schema, files, rows, batch and model."""

from pathlib import Path

from matryoshka_text.build.check_data import check_data
from matryoshka_text.build.check_model import check_models
from matryoshka_text.build.check_rotation import require_texts
from matryoshka_text.build.findings import Findings
from matryoshka_text.recipe import read_recipe

__all__ = ["check_recipe", "inspect_recipe"]


def check_recipe(path: Path) -> list[str]:
    """All problems of the recipe at `path`, one line each; empty where it can be run."""
    return inspect_recipe(path).problems


def inspect_recipe(path: Path) -> Findings:
    """Problems of the recipe at `path`, and notes; nothing is run and nothing fetched.

    Sections that are valid by themselves are looked into even where others are not: their files, columns and rows,
    classes and scores, the batches against the number of rows; dims, layers and the vocabulary against the base where
    that is on this machine. NOT covered: data sets of the hub, unless HF_HUB_OFFLINE is set and they are cached;
    whether plain text is enough for a batch once it is packed, and how many pairs a mined source gives, which take a
    tokenizer and a model.
    """
    reading = read_recipe(path)
    findings = Findings(reading, list(reading.problems))
    values = reading.document.value
    if isinstance(values, dict):
        counts = check_data(values, findings)
        width = check_models(values, findings)
        require_texts(values, counts, width, findings)
    return findings
