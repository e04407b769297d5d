"""A hash that tells two models apart by their vectors."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from matryoshka_text.encoder.matryoshka import MatryoshkaEncoder

__all__ = ["model_mark"]


def model_mark(encoder: "MatryoshkaEncoder", *more: Any) -> str:
    """sha256 over `more` (JSON) and all of the model in memory that its vectors depend on."""
    vocabulary = sorted(encoder.tokenizer.get_vocab().items())
    digest = hashlib.sha256(json.dumps([*more, vocabulary, repr(encoder)]).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + b"\0")
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
