"""A hash that tells two models apart by their vectors."""

import hashlib
import json

import torch

from matryoshka_text.encoder.compat import SentenceTransformer

__all__ = ["model_mark"]


def model_mark(encoder: SentenceTransformer, *more: object) -> str:
    """sha256 over `more` (JSON) and all of the model in memory that its vectors depend on."""
    vocabulary = sorted(encoder.tokenizer.get_vocab().items())
    digest = hashlib.sha256(json.dumps([*more, vocabulary, repr(encoder)]).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + b"\0")
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
