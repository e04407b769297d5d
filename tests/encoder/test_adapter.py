from pathlib import Path

import numpy as np
import pytest
import torch

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.adapter import add_adapter, merged

TEXTS = ["the cat is sleeping", "money transfer to my bank account"]


@pytest.mark.parametrize("targets", ["all-linear", ["query", "value"]])
def test_the_merged_model_gives_the_adapted_vectors_and_has_no_adapter(
    tiny_model: Path, targets: str | list[str], tmp_path: Path
) -> None:
    encoder = MatryoshkaEncoder(tiny_model, dims=(8, 32), device="cpu")
    before = encoder.encode(TEXTS)
    add_adapter(encoder, rank=4, alpha=8, dropout=0.1, target_modules=targets)
    assert all("lora_" in name for name, p in encoder.named_parameters() if p.requires_grad)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    adapted = encoder.encode(TEXTS)
    assert np.abs(adapted - before).max() > 1e-3
    plain = merged(encoder)
    np.testing.assert_allclose(plain.encode(TEXTS), adapted, atol=1e-5)
    assert not any("lora" in name or "base_layer" in name for name in plain.state_dict())
    plain.save(str(tmp_path / "model"))
    np.testing.assert_allclose(MatryoshkaEncoder(tmp_path / "model", device="cpu").encode(TEXTS), adapted, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode(TEXTS), adapted)
