"""What is read or overridden of sentence-transformers (6.2 and later, below 7) beyond its documented methods.

Whatever a new release may break stands here, and `tests/encoder/test_compat.py` names it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
    WeightedLayerPooling,
)
from torch import nn
from transformers import PreTrainedTokenizerBase

__all__ = [
    "OUR_MODULES",
    "PADDED",
    "PLAIN_TRANSFORMER",
    "Dense",
    "Normalize",
    "OwnPasses",
    "Pooling",
    "Router",
    "SentenceTransformer",
    "Transformer",
    "WeightedLayerPooling",
    "default_route",
    "has_ways",
    "inference_device",
    "is_plain_text",
    "keep_limits",
    "limits_of",
    "longest_text",
    "model_config",
    "modules_of",
    "padding_of",
    "prompt_tokens_left_out",
    "put_before_last",
    "reads_vectors",
    "replace_module",
    "tells_roles",
    "token_rows",
    "token_states",
    "unpadded",
]

PADDED = {"input_ids", "token_type_ids", "attention_mask"}
# What a caller may set for the tokenizer without changing how texts become rows.
_LENGTH = {"max_length", "truncation"}
# The modules that the first releases had too, by the class under which today's release saves them.
OUR_MODULES = {f"{kind.__module__}.{kind.__name__}": kind.__name__ for kind in (Transformer, Pooling, Normalize, Dense)}
# What today's release saves of a text encoder that has no setting of its own.
PLAIN_TRANSFORMER = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
_VECTOR = "sentence_embedding"


def inference_device(encoder: SentenceTransformer, device: str | torch.device | None) -> torch.device:
    """Where sentence-transformers would run this call of `encode`; the model is moved there."""
    found: torch.device = encoder._resolve_inference_device(device)
    return found


def is_plain_text(encoder: SentenceTransformer, settings: Mapping[str, object]) -> bool:
    """Whether the encoder's texts are plain rows of token ids, so that they can be tokenized ahead and padded here.

    `settings` are those of `encode` that go to its preprocessing. False for images, chat templates, query expansion,
    routers, modules with a preprocessing of their own and tokenizers told to pad to a length.
    """
    module: Any = encoder[0]
    if type(module) is not Transformer or not isinstance(module.processor, PreTrainedTokenizerBase):
        return False
    given: list[Any] = [module.processing_kwargs or {}, settings.get("processing_kwargs") or {}]
    return (
        module.transformer_task == "feature-extraction"
        and module.query_expansion is None
        and set(module.modality_config) == {"text"}
        and set(module.processor.model_input_names) <= PADDED
        and module.processor.pad_token_id is not None
        and all(set(words) <= {"text"} and set(words.get("text") or {}) <= _LENGTH for words in given)
    )


def padding_of(encoder: SentenceTransformer) -> tuple[dict[str, int], bool]:
    """The number that fills each padded input, and whether the padding stands on the left."""
    processor: Any = encoder[0].processor
    pads = {"input_ids": processor.pad_token_id, "token_type_ids": processor.pad_token_type_id}
    return pads, processor.padding_side == "left"


def token_rows(
    encoder: SentenceTransformer, texts: Sequence[str], prompt: str | None, settings: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What the encoder's own preprocessing makes of plain texts (prompt, cut, special tokens), without padding."""
    asked = (settings.get("processing_kwargs") or {}).get("text") or {}
    ours = {"text": {**asked, "padding": False}, "common": {"return_tensors": None}}
    with _rows_kept_apart(encoder[0]):
        found: Mapping[str, Any] = encoder[0].preprocess(
            list(texts), prompt=prompt, **{**settings, "processing_kwargs": ours}
        )
    return found


def prompt_tokens_left_out(encoder: SentenceTransformer, prompts: Iterable[str]) -> dict[str, int]:
    """How many tokens of each prompt the encoder's pooling leaves out, the first special one among them."""
    if all(module.include_prompt for module in encoder if isinstance(module, Pooling)):
        return dict.fromkeys(prompts, 0)
    return {prompt: token_rows(encoder, [""], prompt, {}).get("prompt_length") or 0 for prompt in prompts}


@contextmanager
def _rows_kept_apart(module: Any) -> Iterator[None]:
    """Inside, the module's preprocessing does not join texts into one row: which ones share a pass is not known yet."""
    before = module.can_flatten_inputs
    module.can_flatten_inputs = False
    try:
        yield
    finally:
        module.can_flatten_inputs = before


def unpadded(encoder: SentenceTransformer) -> Callable[[list[dict[str, list[int]]]], Mapping[str, Any]] | None:
    """What makes one unpadded row of several texts' token ids, as the encoder's own preprocessing does.

    None if the backbone cannot read such a row: its attention is not FlashAttention's variable-length one.
    """
    module: Any = encoder[0]
    if not getattr(module, "can_flatten_inputs", False):
        return None

    def collate(texts: list[dict[str, list[int]]]) -> Mapping[str, Any]:
        features: dict[str, Any] = dict(
            module.data_collator([{k: v for k, v in text.items() if k != "attention_mask"} for text in texts])
        )
        features.pop("labels", None)
        # Families whose positions count from the padding id; sentence-transformers keeps the offset to itself.
        if offset := getattr(module, "_flatten_position_offset", 0):
            features["position_ids"] = features["position_ids"] + offset
        return features

    return collate


def token_states(transformer: nn.Module) -> str:
    """The name under which the first module gives its token states to the next."""
    return getattr(transformer, "module_output_name", None) or "token_embeddings"


def model_config(encoder: SentenceTransformer) -> dict[str, Any]:
    """What is saved next to the modules: prompts, the similarity, versions."""
    found: dict[str, Any] = encoder._get_model_config()
    return found


_Limits = list[tuple[dict[str, Any] | None, dict[str, Any] | None]]


def limits_of(encoder: SentenceTransformer) -> _Limits:
    """How each tokenizer of the encoder cuts and pads if it is not told: what its file says, until a call sets it."""
    return [(tokenizer.truncation, tokenizer.padding) for tokenizer in _tokenizers(encoder)]


def keep_limits(encoder: SentenceTransformer, limits: _Limits) -> None:
    """Let each tokenizer cut and pad as in `limits` (an empty list: not at all), whatever was called before."""
    for place, tokenizer in enumerate(_tokenizers(encoder)):
        truncation, padding = limits[place] if limits else (None, None)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if truncation is not None:
            tokenizer.enable_truncation(**truncation)
        if padding is not None:
            tokenizer.enable_padding(**padding)


def _tokenizers(encoder: SentenceTransformer) -> list[Any]:
    found = [module.tokenizer for module in encoder.modules() if isinstance(module, Transformer)]
    return [one.backend_tokenizer for one in found if getattr(one, "is_fast", False)]


def has_ways(encoder: SentenceTransformer) -> bool:
    """Whether queries and documents go through different modules."""
    return any(isinstance(module, Router) for module in modules_of(encoder).values())


def default_route(encoder: SentenceTransformer) -> str | None:
    """The route of a text that is neither a query nor a document; None if there is none."""
    found = (module.default_route for module in modules_of(encoder).values() if isinstance(module, Router))
    return next(found, None)


def tells_roles(encoder: SentenceTransformer) -> bool:
    """Whether queries and documents become vectors in two ways: through other modules, or cut to another length."""
    lengths = {longest_text(encoder, role) for role in ("query", "document")}
    return has_ways(encoder) or len(lengths | {longest_text(encoder, None)}) > 1


def longest_text(encoder: SentenceTransformer, role: str | None) -> int | None:
    """Tokens to which the encoder cuts a text of that role ("query", "document" or none); None if there is no limit."""
    first: Any = encoder[0]
    own = ((getattr(first, "processing_kwargs", None) or {}).get("text") or {}).get("max_length")
    most: int | None = own or getattr(first, f"{role}_length", None) or encoder.max_seq_length
    return most


def reads_vectors(dense: Dense) -> bool:
    """Whether a Dense gives activation(W x + b) of the sentence vectors, and nothing else."""
    return not dense.use_residual and dense.module_input_name == dense.module_output_name == _VECTOR


def modules_of(encoder: SentenceTransformer) -> dict[str, nn.Module]:
    """The encoder's modules in order, by the names under which they are saved."""
    return dict(encoder._modules)


def replace_module(encoder: SentenceTransformer, name: str, module: nn.Module) -> None:
    """Put `module` in the place of the one of that name."""
    encoder._modules[name] = module


def put_before_last(encoder: SentenceTransformer, module: nn.Module) -> None:
    """Put `module` before the encoder's last one, in the encoder's mode (training or not)."""
    *before, (closing, last) = encoder._modules.items()
    del encoder._modules[closing]
    encoder._modules[str(len(before))] = module.train(encoder.training)
    encoder._modules[str(len(before) + 1)] = last


class OwnPasses(SentenceTransformer):
    """A `SentenceTransformer` whose `encode` leaves the forward passes to `passes`."""

    # Words of `encode` that reach `passes`, next to the model's own.
    pass_settings: tuple[str, ...] = ()

    def passes(self, inputs: list[Any], theirs: Callable[..., Any], **settings: Any) -> Any:
        """What `encode` does with plain `inputs`, a list; `theirs` is sentence-transformers' own way."""
        return theirs(inputs, **settings)

    def get_model_kwargs(self) -> list[str]:
        """The further arguments of `encode`, those of this class among them."""
        return [*super().get_model_kwargs(), *self.pass_settings]

    def _inference(self, inputs: list[Any], **settings: Any) -> Any:
        # sentence-transformers calls it in this process and in each one of a pool.
        return self.passes(inputs, super()._inference, **settings)
