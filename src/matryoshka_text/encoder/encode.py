"""Texts to vectors in passes of like length: what `MatryoshkaEncoder.encode` does with plain texts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from matryoshka_text.data.passes import like_lengths, moved, pinned
from matryoshka_text.encoder.compat import SentenceTransformer, inference_device, is_plain_text
from matryoshka_text.encoder.dtype import Dtype, checked_dtype, choose_dtype
from matryoshka_text.encoder.tokens import TokenIds

__all__ = [
    "PASS_SETTINGS",
    "TEXTS_A_PASS",
    "Device",
    "EncodeSettings",
    "Precision",
    "Progress",
    "Texts",
    "default_tokens",
    "encode_texts",
    "inference",
    "pass_settings",
    "require_texts",
]

# Told how many texts each pass has finished.
Progress = Callable[[int], object]
Texts = str | Sequence[str] | np.ndarray
Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
Device = str | torch.device | list[str | torch.device]


class EncodeSettings(TypedDict, total=False):
    """The keywords of `MatryoshkaEncoder.encode` that leave the type of its result as it is.

    `sentences` is the former name of its first argument.
    """

    prompt_name: str | None
    prompt: str | None
    batch_size: int | None
    show_progress_bar: bool | Progress | None
    precision: Precision
    device: Device | None
    normalize_embeddings: bool
    truncate_dim: int | None
    pool: Mapping[str, object] | None
    chunk_size: int | None
    task: str | None
    processing_kwargs: Mapping[str, object]
    dim: int | None
    layers: int | None
    dtype: Dtype
    batch_tokens: int | None
    sentences: Texts


# sentence-transformers' own number, for what runs in its loop.
TEXTS_A_PASS = 32
PASS_SETTINGS = ("dtype", "batch_tokens")
_ARGUMENTS = ("prompt", "save_to_cpu", "normalize_embeddings", "truncate_dim")
# Texts sorted together: enough that neighbours are of one length, few enough that their token ids take some 50 MB.
SLICE = 16384


def require_texts(inputs: object) -> None:
    """TypeError, naming the place, if the inputs are not one string or several."""
    if isinstance(inputs, str):
        return
    if not isinstance(inputs, Iterable) or (isinstance(inputs, np.ndarray) and inputs.ndim != 1):
        raise TypeError(
            f"the texts are {inputs!r}, of type {type(inputs).__name__}; allowed: a string or a list of strings"
        )
    for index, text in enumerate(inputs):
        if not isinstance(text, str):
            raise TypeError(f"texts[{index}] is {text!r}, of type {type(text).__name__}; allowed: strings")


def pass_settings(batch_size: int | None, batch_tokens: int | None, dtype: Dtype) -> dict[str, Any]:
    """What travels through sentence-transformers' `encode` to `inference`; batch_tokens 0: what suits the device."""
    if batch_size is not None and batch_tokens is not None:
        raise ValueError(f"batch_size={batch_size} and batch_tokens={batch_tokens} are both given; give one of them")
    if batch_tokens is not None and batch_tokens < 1:
        raise ValueError(f"batch_tokens is {batch_tokens}; allowed: a whole number from 1")
    tokens = (batch_tokens or 0) if batch_size is None else None
    return {"dtype": checked_dtype(dtype), "batch_tokens": tokens}


def default_tokens(device: torch.device) -> int:
    """Padded tokens of one pass if the caller does not say.

    On a CPU a pass should stay in the cache: with MiniLM, 512 to 4096 tokens were within a tenth of one another in
    tokens a second, 16384 a fifth slower, and few texts are padded less in small passes (2026-11-21, one thread). On a
    GPU, not measured yet: work for all its cores.
    """
    return 1024 if device.type == "cpu" else 65536


def inference(
    encoder: SentenceTransformer,
    inputs: list[Any],
    theirs: Callable[..., Any],
    *,
    batch_size: int,
    output_value: str | None,
    dtype: Dtype = "float32",
    batch_tokens: int | None = None,
    device: str | torch.device | None = None,
    show_progress_bar: bool | Progress = False,
    **settings: Any,
) -> Any:
    """The vectors of `inputs`: from passes of ours if they are plain texts, else from `theirs`, the base class's.

    The arguments are those with which sentence-transformers calls its own `_inference`, and PASS_SETTINGS.
    """
    place = inference_device(encoder, device)
    arithmetic = choose_dtype(dtype, place)
    further = {k: v for k, v in settings.items() if k not in _ARGUMENTS}
    if output_value == "sentence_embedding" and place.type != "hpu" and is_plain_text(encoder, further):
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


@torch.inference_mode()
def encode_texts(
    encoder: SentenceTransformer,
    texts: Sequence[str],
    *,
    most: int | None,
    tokens: int | None,
    dtype: Literal["float32", "bf16"],
    device: torch.device,
    prompt: str | None,
    truncate_dim: int | None,
    normalize_embeddings: bool,
    save_to_cpu: bool,
    progress: bool | Progress,
    settings: Mapping[str, Any],
) -> Float[Tensor, "texts dim"]:
    """The texts' vectors in the order given, from passes of at most `most` texts or `tokens` padded tokens.

    A pass holds texts of like length, so its vectors are those of any other division into passes up to the rounding
    of sums (1e-6). `settings` go to the encoder's preprocessing and forward pass. bf16 is autocast: products only.
    `progress` True shows a bar; a function is told how many texts each pass has finished.
    """
    found: Tensor | None = None
    # Around all passes: autocast keeps the weights it has cast until it is left.
    with (
        torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16"),
        tqdm(total=len(texts), desc="encoding", unit=" texts", disable=progress is not True) as bar,
    ):
        tell = progress if callable(progress) else bar.update
        for start in range(0, len(texts), SLICE):
            ids = TokenIds(encoder, texts[start : start + SLICE], prompt, settings)
            # The longest first: what does not fit into memory fails at once.
            passes = like_lengths(ids.lengths, most, tokens)[::-1]
            vectors = []
            for rows in passes:
                # Through __call__, so that a compiled encoder runs compiled.
                one = encoder(_on(device, ids.features(rows)), **settings)["sentence_embedding"]
                # Autocast may have rounded what follows the backbone too; the encoder's vectors have unit length.
                one = torch.nn.functional.normalize(one.float(), dim=1) if dtype == "bf16" else one
                vectors.append(_cut(one, truncate_dim, normalize_embeddings))
                tell(len(rows))
            # One copy a slice: a copy a pass would have the GPU wait for the host each time.
            together = torch.cat(vectors)
            together = together.cpu() if save_to_cpu else together
            if found is None:
                found = together.new_empty(len(texts), together.shape[1])
            found[_places(start, passes).to(found.device)] = together
    return torch.empty(0, device=device) if found is None else found


def _cut(vectors: Float[Tensor, "rows width"], dim: int | None, unit: bool) -> Float[Tensor, "rows dim"]:
    cut = vectors if dim is None else vectors[:, :dim]
    return torch.nn.functional.normalize(cut, p=2, dim=1) if unit else cut


def _on(device: torch.device, features: dict[str, Any]) -> dict[str, Any]:
    return moved(pinned(features) if device.type == "cuda" else features, device)


def _places(start: int, passes: Sequence[Int[np.ndarray, " _"]]) -> Int[Tensor, " rows"]:
    return torch.from_numpy(start + np.concatenate(passes))
