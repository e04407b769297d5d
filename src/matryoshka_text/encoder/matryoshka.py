"""The encoder whose vectors can be cut: sentence-transformers with `dim` and `layers`."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

from torch import nn

from matryoshka_text.dims import check_dims
from matryoshka_text.encoder.adapter import both_in_one
from matryoshka_text.encoder.card import folder_name, model_card
from matryoshka_text.encoder.compat import Normalize, Router, keep_limits, limits_of
from matryoshka_text.encoder.folder import ModelFolder, read_folder, usable_dims
from matryoshka_text.encoder.layers import checked_layers, depth_of, first_layers, whole_number
from matryoshka_text.encoder.layout import SavedHead, add_heads, with_first_names
from matryoshka_text.encoder.lora import merge_adapter, merged
from matryoshka_text.encoder.opening import (
    fresh_modules,
    model_faults,
    repeatable,
    require_one_text,
    require_whole,
)
from matryoshka_text.encoder.prefixes import PrefixEncoder
from matryoshka_text.encoder.reread import require_same_vectors
from matryoshka_text.encoder.resolve import Resolved, resolve_model
from matryoshka_text.encoder.rotation import turn
from matryoshka_text.encoder.truncation import narrow
from matryoshka_text.errors import ModelError
from matryoshka_text.files import added_to_folder, require_space
from matryoshka_text.rotation.matrix import Rotation
from matryoshka_text.versions import __version__

__all__ = ["MatryoshkaEncoder"]

# Weights in other files, and heads that were fitted to other vectors.
_OF_AN_OLD_MODEL = ("model*.safetensors", "model*.safetensors.index.json", "heads/*/*")


class MatryoshkaEncoder(PrefixEncoder):
    """A `SentenceTransformer` that ends in Normalize and reads its vectors at any prefix (arXiv:2205.13147, section 3).

    `encode(texts, dim=64)` gives float32 [n, 64] with unit rows: the first 64 coordinates, brought back to length 1.
    `encode(texts, dim=64, layers=6)` runs only six layers (2-D Matryoshka, arXiv:2402.14776). `heads` are what a run
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
        local_files_only: bool = False,
        model_kwargs: dict[str, object] | None = None,
        **settings: object,
    ) -> None:
        """Open a folder, a cached or hub model, or the packaged checkpoint, in float32.

        `pooling` is for checkpoints that are no sentence-transformers model yet (None: mean). `dims` are the trained
        prefix lengths; None takes those the model's own config.json names. `ModelError` if the model cannot be had, is
        damaged, or is no BERT-family text encoder. `settings` go to `SentenceTransformer`.
        """
        if settings.get("truncate_dim") is not None:
            raise ValueError("truncate_dim is no argument of MatryoshkaEncoder; give dim to encode")
        name = str(model_name_or_path)
        self.resolved: Resolved | None = None
        self.folder: ModelFolder | None = None
        if model_name_or_path is not None:
            self.resolved = resolve_model(name, revision, local_only=local_files_only, with_code=trust_remote_code)
            self.folder = read_folder(self.resolved, trust_remote_code=trust_remote_code)
            if not self.folder.modules:
                with model_faults(name), repeatable():
                    modules = fresh_modules(self.folder.path, pooling, trust_remote_code)
            elif pooling is not None:
                raise ModelError(f"{name}: already a sentence-transformers model with its own pooling; leave it out")
        with model_faults(name), repeatable(), self._files() as path:
            super().__init__(
                str(path) if path else None,
                modules=modules,
                device=device,
                trust_remote_code=trust_remote_code,
                # Everything is on disk by now.
                local_files_only=path is not None,
                # "auto" would load, and train, a half-precision checkpoint in half.
                model_kwargs={"dtype": "float32", "use_safetensors": True, **(model_kwargs or {})},
                **settings,
            )
            if self.resolved is not None and self.resolved.base is not None:
                merge_adapter(self.transformers_model, self.resolved.path)
        self._require_whole(name)
        # What is made of a model has a card of its own: the opened one's claims, its licence among them, are not ours.
        self._model_card_text: str | None = None
        self._base_name = None if model_name_or_path is None else name
        # What a file says of cutting and padding; calls of the tokenizer change it.
        self._limits = limits_of(self) if self.resolved is not None else []
        self._width = self._at_unit_length()
        self._dims = self._checked_dims(dims)
        self.heads: dict[str, SavedHead] = {}
        self._require_trained_layers(name)
        if self.folder is not None:
            require_one_text(self, name)

    def _require_whole(self, name: str) -> None:
        if self.config is None or isinstance(self[0], Router):
            raise ModelError(
                f"{name}: begins with a {type(self[0]).__name__}; allowed: a model that begins with a Transformer, the "
                "encoder that is trained"
            )
        if self.folder is not None:
            require_whole(self, self.folder.home, name)

    def _at_unit_length(self) -> int:
        """End in Normalize, with vectors of full width; the width."""
        # A model saved with a default width is read at full width all the same: `dim` says what is wanted.
        self.truncate_dim = None
        self.normalized_by_us = not isinstance(self[-1], Normalize)
        if self.normalized_by_us:
            self.append(Normalize())
        return int(self.get_embedding_dimension())

    @contextmanager
    def _files(self) -> Iterator[Path | None]:
        """The folder that sentence-transformers reads; None if the modules are made by us."""
        if self.folder is None or not self.folder.modules:
            yield None
        elif self.resolved is None or self.folder.path != self.resolved.path or self.resolved.base is None:
            yield self.folder.path
        else:
            with both_in_one(self.folder.path, self.folder.home) as path:
                yield path

    def _require_trained_layers(self, name: str) -> None:
        if trained := getattr(self.config, "matryoshka_layers", None):
            try:
                self.layers = trained
            except (TypeError, ValueError) as error:
                raise ModelError(f"{name}: config.json has matryoshka_layers {trained!r}: {error}") from error

    @property
    def dims(self) -> tuple[int, ...]:
        """The trained prefix lengths, ascending; only the full width if nothing says otherwise."""
        return self._dims

    @dims.setter
    def dims(self, dims: Sequence[int]) -> None:
        self._dims = self._checked_dims(dims)

    @property
    def depth(self) -> int:
        """The number of transformer layers; `ModelError` if they cannot be told apart."""
        return depth_of(self)

    @property
    def layers(self) -> tuple[int, ...]:
        """The trained layer counts, ascending (`matryoshka_layers` in config.json); otherwise only the depth."""
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
            # Others write any list, and one who put a narrower Dense after the model may have left the old one.
            name = "the model" if self.resolved is None else self.resolved.name
            dims = usable_dims(getattr(self.config, "matryoshka_dimensions", None), self.width, name) or (self.width,)
        return check_dims(dims, self.width)

    def truncated(self, dim: int | None = None, layers: int | None = None) -> Self:
        """A physically smaller copy, whose full vectors are `encode(texts, dim=dim, layers=layers)` of this one.

        It has only the first `layers` layers and gives `dim` coordinates (None: nothing is cut), and plain
        sentence-transformers loads what it saves. LoRA matrices are merged in; heads are left out, since they read full
        vectors. `ValueError` for a dim above the width or layers above the depth.
        """
        cut = self.width if dim is None else whole_number("dim", dim, self.width, "width")
        trained, dims = self.layers if layers is not None else (), self.dims
        with first_layers(self, layers):
            small = merged(self)
            small = copy.deepcopy(self) if small is self else small
        # What it was opened from, and the heads there, belong to the larger model.
        small.heads, small.resolved, small.folder = {}, None, None
        if layers is not None:
            small.layers = (*(layer for layer in trained if layer < small.depth), small.depth)
        if cut < self.width:
            narrow(small, cut)
            small._width = cut
            small.dims = (*(d for d in dims if d < cut), cut)
        return small

    def rotated(self, rotation: Rotation) -> Self:
        """A copy that gives `vectors @ R` instead of `vectors`; full-width cosines stay as they are.

        The rotation's dims become its dims. LoRA matrices stay; heads are left out, since they read the old vectors.
        `ModelError` if the rotation is of another width, or if the encoder's vectors have been cut already.
        """
        found = copy.deepcopy(self)
        turn(found, rotation)
        # What it was opened from, and the heads there, belong to the vectors as they were.
        found.heads, found.resolved, found.folder = {}, None, None
        if rotation.dims:
            found.dims = rotation.dims
        return found

    def save(
        self,
        path: str,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """Write the model whole, as plain sentence-transformers (3.0.1 and later) and the servers read it.

        The folder appears whole or not at all, with what else was in it. Settings that the older releases had no
        name for are saved as today's release does. Then the model is read again, and `ModelError` if a few texts get
        other vectors than this encoder's. LoRA matrices are merged into the weights. `matryoshka_dimensions` and
        `is_matryoshka` go into config.json, `matryoshka_layers` if lower layers are trained; no `truncate_dim` is left
        behind. The `heads` go into heads/; without any, those of the folder that the encoder was opened from are copied
        as they are, even if the encoder has been trained since. The tokenizer is the one that was opened. The README.md
        is our own, never that of the model that was opened.
        """
        if not safe_serialization:
            raise ValueError("safe_serialization=False would write pickles; models are saved as safetensors")
        if (plain := merged(self)) is not self:
            plain.save(path, model_name, create_model_card, train_datasets)
            return
        modules: list[nn.Module] = [self, *(head for head in self.heads.values() if isinstance(head, nn.Module))]
        size = sum(p.numel() * p.element_size() for module in modules for p in module.parameters())
        require_space(Path(path), int(size * 1.1) + 2_000_000, what="saving the model")
        self.config.matryoshka_dimensions = list(self.dims)
        self.config.is_matryoshka = True
        # Saved, it would become the default width of whoever opens the model.
        self.truncate_dim = None
        with added_to_folder(Path(path), replacing=_OF_AN_OLD_MODEL) as folder:
            keep_limits(self, self._limits)
            with self._own_card(Path(path)):
                super().save(str(folder), model_name, create_model_card, train_datasets)
            with_first_names(folder, self.max_seq_length)
            add_heads(folder, self.heads, None if self.resolved is None else self.resolved.path)
            require_same_vectors(folder, self)
            for file in folder.rglob("*"):
                # safetensors files come out private (0600), which breaks a folder that is served by another user.
                file.chmod(0o755 if file.is_dir() else 0o644)

    @contextmanager
    def _own_card(self, path: Path) -> Iterator[None]:
        """Inside, the encoder has a card: the one it was given, else one that says what it was made from."""
        before = self._model_card_text
        self._model_card_text = before or model_card(
            name=folder_name(path),
            base=self._base_name,
            dims=self.dims,
            words=f"saved with matryoshka-text {__version__}.\nDimensions: {', '.join(map(str, self.dims))}.",
        )
        try:
            yield
        finally:
            self._model_card_text = before
