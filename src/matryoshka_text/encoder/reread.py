"""A saved model opened again, as everybody else opens it: does it give the vectors that it gave before?"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from matryoshka_text.encoder.compat import SentenceTransformer, has_ways, model_config, modules_of
from matryoshka_text.encoder.opening import model_faults, repeatable
from matryoshka_text.errors import ModelError

__all__ = ["require_same_vectors", "without_reports"]

# Short, with capitals and letters outside ASCII, and long enough to be cut.
_LONG = "The quick brown fox jumps over the lazy dog near the river bank, and 12 more follow it. "
_TEXTS = ["a", "Über the RIVER: a naïve Café (№ 7)", _LONG * 30]
# Relative lengths of differences. Sums are rounded otherwise on a GPU and in half precision; a setting that is lost
# moves some text's vector by a hundredth and more.
_ON_CPU, _ELSEWHERE = 1e-4, 2e-2


def require_same_vectors(folder: Path, encoder: SentenceTransformer) -> None:
    """`ModelError` unless plain sentence-transformers reads the model in `folder` as it is in memory.

    Compared are a few texts' vectors, as queries, as documents and as texts of neither role, and what is saved next to
    the modules: prompts, the similarity, the longest text. The mode (training or not) and the random state stay.
    """
    with model_faults(str(folder)), repeatable(), without_reports():
        again = SentenceTransformer(
            str(folder), device="cpu", local_files_only=True, trust_remote_code=encoder.trust_remote_code
        )
    for name, was, found in _settings(encoder, again):
        if was != found:
            raise ModelError(_refusal(f"{name} is {found!r} instead of {was!r}", encoder, again))
    plain = encoder.device.type == "cpu" and encoder.dtype == torch.float32
    was_training = encoder.training
    # Compiled for training, it would be compiled once more for these few texts.
    with torch.compiler.set_stance("force_eager"):
        roles = ("encode_query", "encode_document", *(() if has_ways(encoder) else ("encode",)))
        differences = {role: _difference(encoder, again, role) for role in roles}
    encoder.train(was_training)
    role, worst = max(differences.items(), key=lambda item: item[1])
    if worst > (_ON_CPU if plain else _ELSEWHERE):
        raise ModelError(_refusal(f"{role} gives other vectors, {worst:.2g} of their length away", encoder, again))


def _settings(encoder: SentenceTransformer, again: SentenceTransformer) -> Iterator[tuple[str, object, object]]:
    was, found = model_config(encoder), model_config(again)
    for name in ("prompts", "default_prompt_name", "similarity_fn_name"):
        yield name, was.get(name), found.get(name)
    yield "max_seq_length", encoder.max_seq_length, again.max_seq_length


def _difference(encoder: SentenceTransformer, again: SentenceTransformer, role: str) -> float:
    """The largest distance of a text's two vectors, relative to their length."""
    was, found = (_vectors(model, role) for model in (encoder, again))
    if was.shape != found.shape:
        return float("inf")
    lengths = np.maximum(np.linalg.norm(was, axis=1), 1e-12)
    distances = np.linalg.norm(was - found, axis=1) / lengths
    # Weights that are NaN or infinite are saved as they are.
    return float(np.where(np.isfinite(was).all(axis=1), np.nan_to_num(distances, nan=np.inf), 0).max())


def _vectors(model: Any, role: str) -> np.ndarray:
    # A long text tells what a role is cut to; one at a time, short ones are not padded to its length.
    texts = _TEXTS[:2] if role == "encode" else _TEXTS
    found = getattr(model, role)(texts, batch_size=1, show_progress_bar=False, convert_to_tensor=True)
    vectors: np.ndarray = found.float().cpu().numpy()
    return vectors


def _refusal(what: str, encoder: SentenceTransformer, again: SentenceTransformer) -> str:
    was, found = (list(modules_of(model).values()) for model in (encoder, again))
    changed = [repr(one) for one, other in zip(was, found, strict=False) if repr(one) != repr(other)]
    named = ", ".join(changed) or ", ".join(type(module).__name__ for module in was)
    return (
        f"the model cannot be saved: read again by sentence-transformers, {what}. One of its modules has a setting "
        f"that its files do not hold: {named}. Allowed: modules and settings that sentence-transformers saves itself, "
        "such as a Dense with an activation of torch.nn without arguments; put another module in its place"
    )


@contextmanager
def without_reports() -> Iterator[None]:
    """None of transformers' bars and tables about loading: what a model lacks is an error or our own warning."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
