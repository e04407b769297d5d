"""A model opened: what the libraries raise for a damaged one, whether all weights are there, and one text tried."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn

from matryoshka_text.encoder.compat import Normalize, Pooling, SentenceTransformer, Transformer, has_ways
from matryoshka_text.encoder.foreign import stored_shapes
from matryoshka_text.encoder.tokens import usable_tokens
from matryoshka_text.errors import ModelError

__all__ = [
    "fresh_modules",
    "model_faults",
    "repeatable",
    "require_one_text",
    "require_token_rows",
    "require_whole",
]

log = logging.getLogger(__name__)

# What the libraries raise for damaged files, unknown modules and settings that no model can have.
_FAULTS = (OSError, SafetensorError, StrictDataclassError, ValueError, KeyError, ImportError, ZeroDivisionError)
# In a RuntimeError: weights that do not fit the configuration.
_MISFITS = ("state_dict", "ignore_mismatched_sizes", "size mismatch")
# Memory that runs out is no fault of the model's files.
_NO_MEMORY = (MemoryError, torch.OutOfMemoryError)
# An error in the middle of their code is one about a value that they were given: from a file of the model.
_LIBRARIES = ("transformers", "sentence_transformers", "tokenizers", "torch", "peft", "huggingface_hub", "json")
_A_TEXT = "a text"

# Families whose published weights have other names than transformers'.
_RENAMED = ("nomic_bert",)
# Old checkpoints' names for a norm's two vectors.
_OLD_NAMES = {"gamma": "weight", "beta": "bias"}


@contextmanager
def model_faults(
    name: str, way_out: str = "give the folder of a whole model", *, what: str = "cannot be opened"
) -> Iterator[None]:
    """Turn what the libraries raise inside for a damaged model `name` into `ModelError`: `what`, why, and `way_out`.

    Any other error that they raise in their own code is one about a value in the model's files, or about files of
    another release. What is raised elsewhere, a TypeError of our own call as much as a bug, comes out as it is, with a
    note that names the model; so does memory that runs out.
    """
    try:
        yield
    except Exception as error:
        misfit = isinstance(error, RuntimeError) and any(words in str(error) for words in _MISFITS)
        if isinstance(error, _FAULTS) or misfit or _is_about_a_value(error):
            if isinstance(error, ModelError):
                raise
            words = " ".join(str(error).split())
            if "ignore_mismatched_sizes" in words:
                words = "size mismatch: its weights have other shapes than config.json says"
            raise ModelError(f"{name}: {what}: {type(error).__name__}: {words[:600]}; {way_out}") from error
        error.add_note(f"while the model {name} was opened")
        raise


def _is_about_a_value(error: Exception) -> bool:
    """Whether a library raised `error` in its own code, for another reason than memory or our caller's argument."""
    words = str(error)
    if isinstance(error, _NO_MEMORY) or "allocate memory" in words or words.startswith("SentenceTransformer."):
        return False
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _LIBRARIES


@contextmanager
def repeatable() -> Iterator[None]:
    """What a checkpoint lacks (a pooler, as a rule) is drawn from a fixed seed: alike in every process and resume."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def fresh_modules(path: Path, pooling: str | None, trust_remote_code: bool) -> list[nn.Module]:
    """Transformer, Pooling (None: mean) and Normalize around a checkpoint that has only a transformer."""
    common = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    transformer = Transformer(
        str(path),
        model_kwargs={**common, "dtype": torch.float32, "use_safetensors": True},
        config_kwargs=common,
        processor_kwargs=common,
    )
    return [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling or "mean"), Normalize()]


def require_whole(encoder: SentenceTransformer, home: Path, name: str) -> None:
    """`ModelError` unless the model in `home` has its weights and a row for each token; texts are cut to fit it."""
    if encoder.transformers_model is not None:
        _require_weights(home, name, encoder.transformers_model)
        require_token_rows(encoder, name)
        _cut_at_positions(encoder)


def _require_weights(path: Path, name: str, backbone: Any) -> None:
    """Log which weights of `backbone` the safetensors files in `path` lack: they were drawn at random.

    `ModelError` if they are at least half of its weights or hold the whole vocabulary matrix: the vectors would mean
    nothing. Names are compared by their ends, since a checkpoint may put its model's name in front; the pooler, which
    no sentence vector needs, does not count. Families that transformers renames on loading are passed over.
    """
    if backbone.config.model_type in _RENAMED:
        return
    stored = set(map(_modern, stored_shapes(path)))
    ends = {".".join(parts[start:]) for parts in (n.split(".") for n in stored) for start in range(len(parts))}
    matrix = backbone.get_input_embeddings().weight
    wanted = {name: weight for name, weight in backbone.named_parameters() if not name.startswith("pooler.")}
    missing = [name for name in wanted if name not in ends]
    if not missing:
        return
    shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
    if len(missing) >= len(wanted) / 2 or any(wanted[name] is matrix for name in missing):
        raise ModelError(
            f"{name}: cannot be opened: {path} lacks {len(missing)} of its {len(wanted)} weights: {shown}; "
            "allowed: a model with all its weights; give the folder of a whole model"
        )
    log.warning("%s: the checkpoint lacks %d weights, which start at random: %s", name, len(missing), shown)


def _cut_at_positions(encoder: SentenceTransformer) -> None:
    """Let texts be cut where the backbone's positions end, if the model's settings cut later or never."""
    backbone: Any = encoder.transformers_model
    # Relative and rotary positions have no table that could end.
    if not any("position_embeddings" in name.split(".") for name, _ in backbone.named_parameters()):
        return
    most, asked = usable_tokens(encoder), encoder.max_seq_length
    if most is not None and (asked is None or asked > most):
        encoder.max_seq_length = most


def require_token_rows(encoder: SentenceTransformer, name: str) -> None:
    """`ModelError` if the tokenizer has no padding token, or a word without a row in the vocabulary matrix."""
    tokenizer: Any = encoder.tokenizer
    rows = len(encoder.transformers_model.get_input_embeddings().weight)
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"{name}: its tokenizer has no padding token, so texts of different lengths cannot share a pass; allowed: "
            "a tokenizer with one; set tokenizer.pad_token to one of its special tokens and save it again"
        )
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= rows:
        raise ModelError(
            f"{name}: its tokenizer has the id {highest}, but the vocabulary matrix has {rows} rows; allowed: a row "
            "for each token; call model.resize_token_embeddings(len(tokenizer)), then save both"
        )


def require_one_text(encoder: SentenceTransformer, name: str) -> None:
    """`ModelError` unless one short text gives one finite vector: files can agree and still make no encoder."""
    modes = {module: module.training for module in encoder.modules()}
    try:
        with torch.inference_mode(), model_faults(name):
            encoder.eval()
            features = encoder.preprocess([_A_TEXT])
            if has_ways(encoder):  # a Router without a default does not read a text of no role
                features["task"] = "document"
            features = {key: one.to(encoder.device) if torch.is_tensor(one) else one for key, one in features.items()}
            vectors = _sentence_vectors(encoder, features)
    finally:
        for module, mode in modes.items():
            module.training = mode
    if vectors is None:
        raise ModelError(
            f"{name}: gives a vector for each token, and none for the whole text; allowed: a model that pools them; "
            "give an embedding model"
        )
    width, finite = encoder.get_embedding_dimension(), bool(vectors.isfinite().all())
    if vectors.shape != (1, width) or not finite:
        found = f"vectors of shape {list(vectors.shape)}" if finite else "a vector with NaN or infinite numbers"
        raise ModelError(
            f"{name}: cannot be opened: a short text gives {found}; allowed: {width} finite numbers; "
            "give the folder of a whole model"
        )


def _sentence_vectors(encoder: SentenceTransformer, features: dict[str, Any]) -> Any:
    """The vectors of a forward pass; None if nothing makes them of the tokens' vectors."""
    try:
        return encoder(features).get("sentence_embedding")
    except KeyError as error:
        if error.args != ("sentence_embedding",):
            raise
        return None


def _modern(name: str) -> str:
    head, _, last = name.rpartition(".")
    return f"{head}.{_OLD_NAMES.get(last, last)}"
