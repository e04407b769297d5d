"""What transformers takes for keys that a config.json lacks, which is told without it."""

import pytest
from transformers import AutoConfig
from transformers.activations import ACT2FN

from matryoshka_text.encoder.families import ACTIVATIONS, BERT_FAMILY, DEFAULTS


@pytest.mark.parametrize("family", BERT_FAMILY)
def test_the_sizes_are_those_of_transformers(family: str) -> None:
    theirs = AutoConfig.for_model(family).to_dict()
    assert {key: theirs[key] for key in DEFAULTS[family]} == DEFAULTS[family]


def test_the_activations_are_those_of_transformers() -> None:
    assert set(ACT2FN) == ACTIVATIONS
