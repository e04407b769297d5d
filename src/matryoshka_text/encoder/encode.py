"""Texts to vectors in passes of like length: the loop under `MatryoshkaEncoder.encode`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from sentence_transformers import SentenceTransformer
from torch import Tensor
from tqdm import tqdm

from matryoshka_text.data.passes import like_lengths, moved, pinned
from matryoshka_text.encoder.tokens import TokenIds

__all__ = ["Progress", "default_tokens", "encode_texts"]

# Told how many texts each pass has finished.
Progress = Callable[[int], object]

# Texts sorted together: enough that neighbours are of one length, few enough that their token ids take some 50 MB.
SLICE = 16384


def default_tokens(device: torch.device) -> int:
    """Padded tokens of one pass where the caller does not say.

    On a CPU a pass should stay in the cache: with MiniLM, 512 to 4096 tokens were within a tenth of one another in
    tokens a second, 16384 a fifth slower, and few texts are padded less in small passes (2026-11-21, one thread). On a
    GPU, not measured yet: work for all its cores.
    """
    return 1024 if device.type == "cpu" else 65536


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
    of sums (1e-6). `settings` go to the encoder's preprocessing and forward pass. bf16 is autocast: products alone.
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
                one = _vectors(encoder, _on(device, ids.features(rows)), dtype, settings)
                vectors.append(_cut(one, truncate_dim, normalize_embeddings))
                tell(len(rows))
            # One copy a slice: a copy a pass would have the GPU wait for the host each time.
            together = torch.cat(vectors)
            together = together.cpu() if save_to_cpu else together
            if found is None:
                found = together.new_empty(len(texts), together.shape[1])
            found[_places(start, passes).to(found.device)] = together
    return torch.empty(0, device=device) if found is None else found


def _vectors(
    encoder: SentenceTransformer, features: dict[str, Any], dtype: str, settings: Mapping[str, Any]
) -> Float[Tensor, "rows width"]:
    # Through __call__, so that a compiled encoder runs compiled.
    vectors: Tensor = encoder(features, **settings)["sentence_embedding"]
    # Autocast may have rounded what follows the backbone too; the encoder's vectors have unit length.
    return torch.nn.functional.normalize(vectors.float(), dim=1) if dtype == "bf16" else vectors


def _cut(vectors: Float[Tensor, "rows width"], dim: int | None, unit: bool) -> Float[Tensor, "rows dim"]:
    cut = vectors if dim is None else vectors[:, :dim]
    return torch.nn.functional.normalize(cut, p=2, dim=1) if unit else cut


def _on(device: torch.device, features: dict[str, Any]) -> dict[str, Any]:
    return moved(pinned(features) if device.type == "cuda" else features, device)


def _places(start: int, passes: Sequence[Int[np.ndarray, " rows"]]) -> Int[Tensor, " rows"]:
    return torch.from_numpy(start + np.concatenate(passes))
