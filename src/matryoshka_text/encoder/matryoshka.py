"""The encoder whose vectors can be cut: sentence-transformers with `dim`."""

import logging
import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from torch import nn

from matryoshka_text.encoder.complete import missing_weights
from matryoshka_text.encoder.layout import write_model
from matryoshka_text.encoder.resolve import Resolved, require_bert_family, require_weights, resolve_model
from matryoshka_text.errors import ModelError

__all__ = ["MatryoshkaEncoder"]

log = logging.getLogger(__name__)

# What the libraries raise for damaged weights, tokenizers and configurations.
_UNREADABLE = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, SafetensorError)

Texts = str | Sequence[str] | np.ndarray


class MatryoshkaEncoder(SentenceTransformer):
    """A `SentenceTransformer` that ends in Normalize and reads its vectors at any prefix (arXiv:2205.13147, section 3).

    `encode(texts, dim=64)` gives float32 [n, 64] with unit rows: the first 64 coordinates, brought back to length 1.
    """

    def __init__(
        self,
        model_name_or_path: str | Path | None = None,
        *,
        revision: str | None = None,
        dims: Sequence[int] | None = None,
        pooling: Literal["mean", "cls"] | None = None,
        device: str | None = None,
        trust_remote_code: bool = False,
        modules: list[nn.Module] | None = None,
        **settings: Any,
    ) -> None:
        """Open a folder, a cached or hub model, or the packaged checkpoint, in float32.

        `pooling` is for checkpoints that are no sentence-transformers model yet (None: mean). `dims` are the trained
        prefix lengths; None takes those the model's own config.json names. `ModelError` where the model cannot be had
        or is no BERT-family text encoder. `settings` go to `SentenceTransformer`.
        """
        if settings.get("truncate_dim") is not None:
            raise ValueError("truncate_dim is no argument of MatryoshkaEncoder; give dim to encode")
        self.resolved: Resolved | None = None
        path = None
        if model_name_or_path is not None:
            self.resolved = resolve_model(
                str(model_name_or_path), revision, local_only=bool(settings.pop("local_files_only", False))
            )
            path = self.resolved.path
            if not trust_remote_code:
                require_bert_family(path, str(model_name_or_path))
            require_weights(path, str(model_name_or_path))
            if not (path / "modules.json").is_file():
                with _repeatable():
                    modules, path = _fresh_modules(path, pooling, trust_remote_code), None
            elif pooling is not None:
                raise ModelError(
                    f"{model_name_or_path}: already a sentence-transformers model with its own pooling; leave it out"
                )
        # "auto" would load, and train, a half-precision checkpoint in half.
        settings["model_kwargs"] = {"dtype": "float32", "use_safetensors": True, **(settings.get("model_kwargs") or {})}
        try:
            with _repeatable():
                super().__init__(
                    str(path) if path else None,
                    modules=modules,
                    device=device,
                    trust_remote_code=trust_remote_code,
                    # Everything is on disk by now.
                    local_files_only=path is not None,
                    **settings,
                )
        except _UNREADABLE as error:
            raise ModelError(f"{model_name_or_path}: cannot be opened: {type(error).__name__}: {error}") from error
        self._warn_of_missing()
        # A model saved with a default width is read at full width all the same: `dim` says what is wanted.
        self.truncate_dim = None
        if not any(isinstance(module, Normalize) for module in self):
            self.append(Normalize())
        self._width = int(self.get_embedding_dimension())
        self._dims = self._checked_dims(dims)

    def _warn_of_missing(self) -> None:
        """Say which weights the checkpoint lacks: they were drawn at random, and the vectors mean little."""
        if self.resolved is None or self.transformers_model is None:
            return
        if missing := missing_weights(self.resolved.path, self.transformers_model):
            log.warning(
                "%s: the checkpoint lacks %d weights, which start at random: %s%s",
                self.resolved.name,
                len(missing),
                ", ".join(missing[:3]),
                ", …" if len(missing) > 3 else "",
            )

    @property
    def width(self) -> int:
        """The length of a full vector."""
        return self._width

    @property
    def dims(self) -> tuple[int, ...]:
        """The trained prefix lengths, ascending; only the full width where nothing says otherwise."""
        return self._dims

    @dims.setter
    def dims(self, dims: Sequence[int]) -> None:
        self._dims = self._checked_dims(dims)

    def _checked_dims(self, dims: Sequence[int] | None) -> tuple[int, ...]:
        if dims is None:
            dims = getattr(self.config, "matryoshka_dimensions", None) or (self.width,)
        checked = tuple(self._checked_dim(dim) for dim in dims)
        if list(checked) != sorted(set(checked)):
            raise ValueError(f"dims are {list(dims)}; allowed: strictly increasing prefix lengths")
        return checked

    def _checked_dim(self, dim: object) -> int:
        """`dim` as an int; ValueError where it is not a whole number from 1 to the width."""
        if not isinstance(dim, bool):
            try:
                number = operator.index(dim)  # type: ignore[arg-type]  # numpy's integers are allowed too
            except TypeError:
                number = 0
            if 1 <= number <= self.width:
                return number
        raise ValueError(f"dim is {dim!r}; allowed: a whole number from 1 to {self.width}, the width of this model")

    def encode(
        self,
        inputs: Texts | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding", "token_embeddings"] | None = "sentence_embedding",
        *more: Any,
        dim: int | None = None,
        truncate_dim: int | None = None,
        normalize_embeddings: bool = False,
        **settings: Any,
    ) -> Any:
        """Vectors of the texts: float32 [n, dim] with unit rows; one string gives [dim], an empty list [0, dim].

        `dim` is any whole number from 1 to the width, trained or not (None: the full width); anything else is a
        `ValueError`. `truncate_dim` is sentence-transformers' own (no unit length by itself) and excludes `dim`.
        The other arguments are sentence-transformers' own, in its order.
        """
        texts = settings.pop("sentences", None) if inputs is None else inputs
        _require_texts(texts)
        asked = self._asked(dim, truncate_dim, output_value)
        # An empty list has no vectors, but a dtype and a width: those of one text.
        empty = not isinstance(texts, str) and len(texts) == 0
        vectors = super().encode(
            [""] if empty else texts,
            prompt_name,
            prompt,
            batch_size,
            show_progress_bar,
            output_value,
            *more,
            truncate_dim=asked,
            # encode_query hands normalize_embeddings=False through unasked; with dim the rows are unit rows anyway.
            normalize_embeddings=normalize_embeddings or dim is not None,
            **settings,
        )
        return vectors[:0] if empty else vectors

    def _asked(self, dim: int | None, truncate_dim: int | None, output_value: str | None) -> int | None:
        """The width to cut to; None for the full one."""
        if dim is not None and truncate_dim is not None:
            raise ValueError(f"dim={dim} and truncate_dim={truncate_dim} are both given; give dim alone")
        if dim is not None and output_value != "sentence_embedding":
            raise ValueError(f"dim={dim} cuts sentence embeddings, but output_value is {output_value!r}; leave dim out")
        asked = truncate_dim if dim is None else dim
        return None if asked is None else self._checked_dim(asked)

    def save(
        self,
        path: str,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """Write the model whole, as plain sentence-transformers (3.0 and later) and the servers read it.

        `matryoshka_dimensions` and `is_matryoshka` go into config.json; no `truncate_dim` is left behind.
        """
        if not safe_serialization:
            raise ValueError("safe_serialization=False would write pickles; models are saved as safetensors")
        write_model(self, Path(path), model_name, create_model_card, train_datasets)

    def save_plain(self, path: Path, model_name: str | None, card: bool, train_datasets: list[str] | None) -> None:
        """The model as sentence-transformers itself writes it; `save` builds on it."""
        super().save(str(path), model_name, card, train_datasets, True)


@contextmanager
def _repeatable() -> Iterator[None]:
    """What a checkpoint lacks (a pooler, as a rule) is drawn from a fixed seed: alike in every process and resume."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _fresh_modules(path: Path, pooling: str | None, trust_remote_code: bool) -> list[nn.Module]:
    common = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    try:
        transformer = Transformer(
            str(path),
            model_kwargs={**common, "dtype": torch.float32, "use_safetensors": True},
            config_kwargs=common,
            processor_kwargs=common,
        )
    except _UNREADABLE as error:
        raise ModelError(f"{path}: cannot be opened as an encoder: {type(error).__name__}: {error}") from error
    return [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling or "mean"), Normalize()]


def _require_texts(inputs: Texts | None) -> None:
    if isinstance(inputs, str):
        return
    if not isinstance(inputs, Iterable) or (isinstance(inputs, np.ndarray) and inputs.ndim != 1):
        raise TypeError(
            f"the texts are {inputs!r}, of type {type(inputs).__name__}; allowed: a string or a list of strings"
        )
    for index, text in enumerate(inputs):
        if not isinstance(text, str):
            raise TypeError(f"texts[{index}] is {text!r}, of type {type(text).__name__}; allowed: strings")
