"""A model's files opened: what the libraries raise for damaged ones, and whether all weights are there."""

import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import nn

from matryoshka_text.encoder.compat import Normalize, Pooling, Transformer
from matryoshka_text.errors import ModelError

__all__ = ["fresh_modules", "missing_weights", "model_faults", "repeatable", "require_readable", "warn_of_missing"]

log = logging.getLogger(__name__)

# What the libraries raise for damaged files, unknown modules and settings that no model can have.
_FAULTS = (OSError, SafetensorError, StrictDataclassError, ValueError, KeyError, ImportError, ZeroDivisionError)
# In a RuntimeError: weights that do not fit the configuration.
_MISFITS = ("state_dict", "ignore_mismatched_sizes", "size mismatch")
# What transformers and sentence-transformers read. Whatever else lies there (all-MiniLM-L6-v2 lists its training data
# in data_config.json) is nobody's configuration.
_JSON = (
    "config.json",
    "*/config.json",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_*_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "*.index.json",
)

# Old checkpoints' names for a norm's two vectors.
_OLD_NAMES = {"gamma": "weight", "beta": "bias"}


@contextmanager
def model_faults(name: str) -> Iterator[None]:
    """Turn what the libraries raise inside for a damaged model `name` into `ModelError`.

    Anything else comes out as it is, with a note that names the model: a TypeError or an AttributeError is a bug or a
    release of a library that does not fit, and memory that runs out is no fault of the model's files.
    """
    try:
        yield
    except Exception as error:
        misfit = isinstance(error, RuntimeError) and any(words in str(error) for words in _MISFITS)
        if isinstance(error, _FAULTS) or misfit or _is_of_a_newer_release(error):
            raise ModelError(f"{name}: cannot be opened: {type(error).__name__}: {error}") from error
        error.add_note(f"while the model {name} was opened")
        raise


def _is_of_a_newer_release(error: Exception) -> bool:
    """Whether sentence-transformers gave one of its modules a setting, read from its file, that it does not know."""
    words = str(error)
    if not isinstance(error, TypeError) or "unexpected keyword argument" not in words:
        return False
    if words.startswith("SentenceTransformer."):  # an argument that our caller gave
        return False
    *_, caller = traceback.walk_tb(error.__traceback__)
    return str(caller[0].f_globals.get("__name__", "")).startswith("sentence_transformers.")


def require_readable(path: Path, name: str) -> None:
    """`ModelError` for a configuration in `path` that is not JSON of the right kind."""
    for file in sorted({file for pattern in _JSON for file in path.glob(pattern)}):
        kind = list if file.name == "modules.json" else dict
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{name}: cannot be opened: {file}: {error}; give the folder of a whole model") from error
        if not isinstance(found, kind) or (kind is list and not all(isinstance(one, dict) for one in found)):
            allowed = "a list of mappings" if kind is list else "a mapping"
            raise ModelError(
                f"{name}: cannot be opened: {file}: found {str(found)[:60]!r}; allowed: {allowed}; "
                "give the folder of a whole model"
            )


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


def missing_weights(path: Path, backbone: nn.Module) -> list[str]:
    """Parameters of `backbone` that the safetensors files in `path` lack, the pooler's aside; [] where that is unknown.

    Names are compared by their ends, since a checkpoint may put its model's name in front. Where fewer than half are
    found the family renames its weights on loading, and nothing can be said.
    """
    stored = {_modern(name) for file in path.glob("*.safetensors") for name in _names(file)}
    ends = {".".join(parts[start:]) for parts in (n.split(".") for n in stored) for start in range(len(parts))}
    wanted = [name for name, _ in backbone.named_parameters() if not name.startswith("pooler.")]
    missing = [name for name in wanted if name not in ends]
    return missing if len(missing) < len(wanted) / 2 else []


def warn_of_missing(path: Path, name: str, backbone: nn.Module) -> None:
    """Log which weights model `name` in `path` lacks: they were drawn at random, and the vectors mean little."""
    if missing := missing_weights(path, backbone):
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        log.warning(
            "%s: the checkpoint lacks %d weights, which start at random: %s",
            name,
            len(missing),
            shown,
        )


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def _modern(name: str) -> str:
    head, _, last = name.rpartition(".")
    return f"{head}.{_OLD_NAMES.get(last, last)}"
