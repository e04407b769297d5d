"""Encoders over tiny random backbones whose layers all matter."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAMILIES = ("bert", "roberta", "mpnet", "distilbert", "modernbert", "electra", "deberta-v2")


def _shaken(encoder: Any) -> Any:
    """Fresh weights are so small, and fresh norms so plain, that a layer or a norm left out would hardly be seen."""
    import torch

    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=drawn) * 0.15)
    return encoder.eval()


@pytest.fixture(scope="session", params=FAMILIES)
def family_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def family_encoder(family: Callable[[str], Path]) -> Callable[[str], Any]:
    """family_encoder("roberta"): a new encoder of 4 layers and width 32, in eval mode."""
    from matryoshka_text.encoder import MatryoshkaEncoder

    made: dict[str, Any] = {}

    def make(name: str) -> Any:
        if name not in made:
            made[name] = _shaken(MatryoshkaEncoder(family(name), dims=(8, 16, 32), device="cpu"))
        return copy.deepcopy(made[name])

    return make


@pytest.fixture(scope="session")
def other_encoder(family: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """other_encoder("albert", embedding_size=16): like `family_encoder`, of any family and configuration."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from matryoshka_text.encoder import MatryoshkaEncoder

    def make(name: str, **settings: Any) -> Any:
        folder = tmp_path_factory.mktemp(name)
        AutoTokenizer.from_pretrained(family("bert")).save_pretrained(folder)
        usual = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 48}
        common = {"vocab_size": 286, "max_position_embeddings": 130, "pad_token_id": 0}
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(name, **{**usual, **common, **settings})).save_pretrained(folder)
        return _shaken(MatryoshkaEncoder(folder, dims=(8, 32), device="cpu"))

    return make
