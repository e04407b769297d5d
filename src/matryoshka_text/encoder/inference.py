"""Between sentence-transformers' `encode` and the passes: which of its calls run in passes of ours, and how."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from matryoshka_text.encoder.encode import Progress, default_tokens, encode_texts
from matryoshka_text.encoder.precision import Precision, checked_precision, choose_precision
from matryoshka_text.encoder.tokens import can_tokenize_once

__all__ = [
    "PASS_SETTINGS",
    "TEXTS_A_PASS",
    "Texts",
    "inference",
    "pass_settings",
    "require_texts",
    "with_batch_size",
]

Texts = str | Sequence[str] | np.ndarray

# sentence-transformers' own number, for what runs in its loop.
TEXTS_A_PASS = 32
PASS_SETTINGS = ("dtype", "batch_tokens")
_FOURTH = 4
_ARGUMENTS = ("prompt", "save_to_cpu", "normalize_embeddings", "truncate_dim")


def require_texts(inputs: object) -> None:
    """TypeError naming the place where the inputs are not one string or several."""
    if isinstance(inputs, str):
        return
    if not isinstance(inputs, Iterable) or (isinstance(inputs, np.ndarray) and inputs.ndim != 1):
        raise TypeError(
            f"the texts are {inputs!r}, of type {type(inputs).__name__}; allowed: a string or a list of strings"
        )
    for index, text in enumerate(inputs):
        if not isinstance(text, str):
            raise TypeError(f"texts[{index}] is {text!r}, of type {type(text).__name__}; allowed: strings")


def pass_settings(batch_size: int | None, batch_tokens: int | None, dtype: Precision) -> dict[str, Any]:
    """What travels through sentence-transformers' `encode` to `inference`; batch_tokens 0: what suits the device."""
    if batch_size is not None and batch_tokens is not None:
        raise ValueError(f"batch_size={batch_size} and batch_tokens={batch_tokens} are both given; give one of them")
    if batch_tokens is not None and batch_tokens < 1:
        raise ValueError(f"batch_tokens is {batch_tokens}; allowed: a whole number from 1")
    tokens = (batch_tokens or 0) if batch_size is None else None
    return {"dtype": checked_precision(dtype), "batch_tokens": tokens}


def with_batch_size(given: Sequence[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with batch_size=None where neither they nor the positional arguments name one.

    sentence-transformers' encode_query and encode_document would name 32 for the caller.
    """
    return dict(settings) if len(given) >= _FOURTH else {"batch_size": None, **settings}


def inference(
    encoder: SentenceTransformer,
    theirs: Callable[..., Any],
    inputs: list[Any],
    *,
    batch_size: int,
    output_value: str | None,
    dtype: Precision = "float32",
    batch_tokens: int | None = None,
    device: str | torch.device | None = None,
    show_progress_bar: bool | Progress = False,
    **settings: Any,
) -> Any:
    """The vectors of `inputs`: from passes of ours where they are plain texts, else from `theirs`, the base class's.

    The arguments are those with which sentence-transformers calls its own `_inference`, and PASS_SETTINGS.
    """
    place = encoder._resolve_inference_device(device)
    arithmetic = choose_precision(dtype, place)
    further = {k: v for k, v in settings.items() if k not in _ARGUMENTS}
    if output_value == "sentence_embedding" and place.type != "hpu" and can_tokenize_once(encoder, further):
        encoder.eval()
        return encode_texts(
            encoder,
            inputs,
            most=batch_size if batch_tokens is None else None,
            tokens=batch_tokens if batch_tokens != 0 else default_tokens(place),
            dtype=arithmetic,
            device=place,
            progress=show_progress_bar,
            settings=further,
            **{k: settings[k] for k in _ARGUMENTS},
        )
    with torch.autocast(place.type, torch.bfloat16, enabled=arithmetic == "bf16"):
        found = theirs(
            inputs,
            batch_size=batch_size,
            output_value=output_value,
            device=device,
            show_progress_bar=show_progress_bar is True,
            **settings,
        )
    if callable(show_progress_bar):
        show_progress_bar(len(inputs))
    # Autocast may have rounded a module after the backbone: full vectors have unit length.
    full = arithmetic == "bf16" and output_value == "sentence_embedding" and isinstance(found, Tensor) and len(found)
    if full and (settings["normalize_embeddings"] or settings["truncate_dim"] is None):
        return torch.nn.functional.normalize(found.float(), dim=1)
    return found
