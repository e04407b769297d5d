"""The encoder whose vectors can be cut: sentence-transformers with `dim` and `layers`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from torch import nn

from matryoshka_text.dims import check_dims
from matryoshka_text.encoder.complete import warn_of_missing
from matryoshka_text.encoder.encode import Progress
from matryoshka_text.encoder.inference import (
    PASS_SETTINGS,
    TEXTS_A_PASS,
    Texts,
    inference,
    pass_settings,
    require_texts,
    with_batch_size,
)
from matryoshka_text.encoder.layers import checked_layers, depth_of, first_layers, whole_number
from matryoshka_text.encoder.layout import SavedHead, write_model
from matryoshka_text.encoder.precision import Precision
from matryoshka_text.encoder.resolve import Resolved, require_bert_family, require_weights, resolve_model
from matryoshka_text.encoder.rotation import rotated
from matryoshka_text.encoder.truncation import truncated
from matryoshka_text.errors import ModelError
from matryoshka_text.rotation.matrix import Rotation

__all__ = ["MatryoshkaEncoder"]

# What the libraries raise for damaged weights, tokenizers and configurations.
_UNREADABLE = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, SafetensorError)


class MatryoshkaEncoder(SentenceTransformer):
    """A `SentenceTransformer` that ends in Normalize and reads its vectors at any prefix (arXiv:2205.13147, section 3).

    `encode(texts, dim=64)` gives float32 [n, 64] with unit rows: the first 64 coordinates, brought back to length 1.
    `encode(texts, dim=64, layers=6)` runs six layers alone (2-D Matryoshka, arXiv:2402.14776). `heads` are what a run
    has trained on top of the vectors; `save` writes each into heads/<name>.
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
        if self.resolved is not None and self.transformers_model is not None:
            warn_of_missing(self.resolved.path, self.resolved.name, self.transformers_model)
        # A model saved with a default width is read at full width all the same: `dim` says what is wanted.
        self.truncate_dim = None
        self.normalized_by_us = not isinstance(self[-1], Normalize)
        if self.normalized_by_us:
            self.append(Normalize())
        self._width = int(self.get_embedding_dimension())
        self._dims = self._checked_dims(dims)
        self.heads: dict[str, SavedHead] = {}
        self._require_trained_layers(str(model_name_or_path))

    def _require_trained_layers(self, name: str) -> None:
        if trained := getattr(self.config, "matryoshka_layers", None):
            try:
                self.layers = trained
            except (TypeError, ValueError) as error:
                raise ModelError(f"{name}: config.json has matryoshka_layers {trained!r}: {error}") from error

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

    @property
    def depth(self) -> int:
        """The number of transformer layers; `ModelError` where they cannot be told apart."""
        return depth_of(self)

    @property
    def layers(self) -> tuple[int, ...]:
        """The trained layer counts, ascending (`matryoshka_layers` in config.json); the depth alone where none are."""
        return tuple(getattr(self.config, "matryoshka_layers", None) or (self.depth,))

    @layers.setter
    def layers(self, layers: Sequence[int]) -> None:
        # The config is their one home, so that every way of saving writes them.
        checked = checked_layers(layers, self.depth)
        self.config.matryoshka_layers = list(checked)
        if checked == (self.depth,):
            del self.config.matryoshka_layers

    def _checked_dims(self, dims: Sequence[int] | None) -> tuple[int, ...]:
        if dims is None:
            # Whoever put a narrower Dense after the model may have left the old list in its config.json.
            known = getattr(self.config, "matryoshka_dimensions", None) or ()
            dims = [dim for dim in known if not isinstance(dim, int) or dim <= self.width] or (self.width,)
        return check_dims(dims, self.width)

    def encode(
        self,
        inputs: Texts | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | Progress | None = None,
        output_value: Literal["sentence_embedding", "token_embeddings"] | None = "sentence_embedding",
        *more: Any,
        dim: int | None = None,
        layers: int | None = None,
        dtype: Precision = "float32",
        batch_tokens: int | None = None,
        truncate_dim: int | None = None,
        normalize_embeddings: bool = False,
        **settings: Any,
    ) -> Any:
        """Vectors of the texts: float32 [n, dim] with unit rows; one string gives [dim], an empty list [0, dim].

        `dim` is any whole number from 1 to the width, trained or not (None: the full width); anything else is a
        `ValueError`. `layers` is any whole number from 1 to the depth: only that many are run (None: all), through the
        same pooling; not from several threads, as the others are gone meanwhile.
        `truncate_dim` is sentence-transformers' own (no unit length by itself) and excludes `dim`.
        `dtype` is the arithmetic of the products: "bf16" is 2.5 x as fast on a CPU with AVX512-BF16 at cosines of
        0.999 and more to the "float32" vectors, "auto" takes it where this machine is faster with it. A forward pass
        takes `batch_tokens` padded tokens (None: what suits the device), or `batch_size` texts where that is given.
        `show_progress_bar` may be a function, which is told how many texts each pass has finished. The other arguments
        are sentence-transformers' own, in its order; its `precision` is that of the output.
        """
        texts = settings.pop("sentences", None) if inputs is None else inputs
        require_texts(texts)
        asked = self._asked(dim, truncate_dim, output_value)
        if layers is not None and settings.get("pool") is not None:
            raise ValueError(f"layers={layers} with a pool, whose processes hold all layers; give device=[…] instead")
        passes = pass_settings(batch_size, batch_tokens, dtype)
        # An empty list has no vectors, but a dtype and a width: those of one text.
        empty = not isinstance(texts, str) and len(texts) == 0
        with first_layers(self, layers):
            vectors = super().encode(
                [""] if empty else texts,
                prompt_name,
                prompt,
                TEXTS_A_PASS if batch_size is None else batch_size,
                show_progress_bar,
                output_value,
                *more,
                truncate_dim=asked,
                # encode_query hands normalize_embeddings=False through unasked; with dim the rows are unit rows anyway.
                normalize_embeddings=normalize_embeddings or dim is not None,
                **passes,
                **settings,
            )
        return vectors[:0] if empty else vectors

    def encode_query(self, *texts: Any, **settings: Any) -> Any:
        """`encode` with the prompt of queries, as in sentence-transformers, and with all the words of `encode`."""
        return super().encode_query(*texts, **with_batch_size(texts, settings))

    def encode_document(self, *texts: Any, **settings: Any) -> Any:
        """`encode` with the prompt of documents, as in sentence-transformers, and with all the words of `encode`."""
        return super().encode_document(*texts, **with_batch_size(texts, settings))

    def get_model_kwargs(self) -> list[str]:
        """The further arguments of `encode`, those of this class among them."""
        return [*super().get_model_kwargs(), *PASS_SETTINGS]

    def _inference(self, inputs: list[Any], **settings: Any) -> Any:
        """What `encode` does in this process or in one of a pool's: sentence-transformers calls it."""
        return inference(self, super()._inference, inputs, **settings)

    def _asked(self, dim: int | None, truncate_dim: int | None, output_value: str | None) -> int | None:
        """The width to cut to; None for the full one."""
        if dim is not None and truncate_dim is not None:
            raise ValueError(f"dim={dim} and truncate_dim={truncate_dim} are both given; give dim alone")
        if dim is not None and output_value != "sentence_embedding":
            raise ValueError(f"dim={dim} cuts sentence embeddings, but output_value is {output_value!r}; leave dim out")
        asked = truncate_dim if dim is None else dim
        return None if asked is None else whole_number("dim", asked, self.width, "width")

    def truncated(self, dim: int | None = None, layers: int | None = None) -> "MatryoshkaEncoder":
        """A physically smaller encoder, whose own vectors are `encode(texts, dim=dim, layers=layers)` of this one.

        It has only the first `layers` layers and gives `dim` coordinates; plain sentence-transformers loads what it
        saves. LoRA matrices are merged in; heads are left out.
        """
        return truncated(self, dim, layers)

    def rotated(self, rotation: Rotation) -> "MatryoshkaEncoder":
        """A copy that gives `vectors @ R` where this one gives `vectors`; full-width cosines stay as they are.

        The rotation's dims become its dims. LoRA matrices stay; heads are left out, since they read the old vectors.
        `ModelError` if the rotation is of another width, or if the encoder's vectors have been cut already.
        """
        return rotated(self, rotation)

    def save(
        self,
        path: str,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """Write the model whole, as plain sentence-transformers (3.0.1 and later) and the servers read it.

        `matryoshka_dimensions` and `is_matryoshka` go into config.json, `matryoshka_layers` where lower layers are
        trained; no `truncate_dim` is left behind. The `heads` go into heads/; without any, those of the folder that the
        encoder was opened from are copied as they are, even where the encoder has been trained since.
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
