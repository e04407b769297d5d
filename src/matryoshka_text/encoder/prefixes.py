"""`encode` at any prefix and any number of layers."""

from typing import Any, Literal, Unpack, overload

import numpy as np
from torch import Tensor

from matryoshka_text.encoder.compat import OwnPasses
from matryoshka_text.encoder.dtype import Dtype
from matryoshka_text.encoder.encode import (
    PASS_SETTINGS,
    TEXTS_A_PASS,
    Device,
    Precision,
    Progress,
    Texts,
    inference,
    pass_settings,
    require_texts,
)
from matryoshka_text.encoder.encode import EncodeSettings as _Words
from matryoshka_text.encoder.layers import first_layers, whole_number

__all__ = ["PrefixEncoder"]

_True = Literal[True]
_False = Literal[False]
_States = dict[str, object]
_Vectors = np.ndarray | Tensor | list[Tensor] | _States | list[_States]
_Output = Literal["sentence_embedding", "token_embeddings"] | None


class _AllWords(_Words, total=False):
    """All keywords of `encode`, those that change the type of its result among them."""

    output_value: _Output
    convert_to_numpy: bool
    convert_to_tensor: bool


class PrefixEncoder(OwnPasses):
    """A `SentenceTransformer` whose `encode` gives any prefix of the vectors, from any number of the first layers."""

    pass_settings = PASS_SETTINGS
    passes = inference  # type: ignore[assignment]  # encode gives all its keywords
    _width: int

    @property
    def width(self) -> int:
        """The length of a full vector."""
        return self._width

    @overload
    def encode(self, inputs: Texts = ..., *, convert_to_tensor: _True, **more: Unpack[_Words]) -> Tensor: ...
    @overload
    def encode(
        self,
        inputs: Texts = ...,
        *,
        convert_to_numpy: _True = ...,
        convert_to_tensor: _False = ...,
        **more: Unpack[_Words],
    ) -> np.ndarray: ...
    @overload
    def encode(self, inputs: Texts = ..., **more: Unpack[_AllWords]) -> _Vectors: ...

    def encode(
        self,
        inputs: Texts | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | Progress | None = None,
        output_value: _Output = "sentence_embedding",
        precision: Precision = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Device | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        *,
        dim: int | None = None,
        layers: int | None = None,
        dtype: Dtype = "float32",
        batch_tokens: int | None = None,
        **settings: Any,
    ) -> _Vectors:
        """Vectors of the texts: float32 [n, dim] with unit rows; one string gives [dim], an empty list [0, dim].

        `dim` is any whole number from 1 to the width, trained or not (None: the full width); anything else is a
        `ValueError`. `layers` is any whole number from 1 to the depth: only that many are run (None: all), through the
        same pooling; not from several threads, as the others are gone meanwhile.
        `truncate_dim` is sentence-transformers' own (no unit length by itself) and excludes `dim`.
        `dtype` is the arithmetic of the products: "bf16" is 2.5 x as fast on a CPU with AVX512-BF16 at cosines of
        0.999 and more to the "float32" vectors, "auto" takes it if this machine is faster with it. A forward pass
        takes `batch_tokens` padded tokens (None: what suits the device), or `batch_size` texts if that is given.
        `show_progress_bar` may be a function, which is told how many texts each pass has finished. The other arguments
        are sentence-transformers' own, in its order; its `precision` is how the result is stored.
        """
        texts = settings.pop("sentences", None) if inputs is None else inputs
        require_texts(texts)
        asked = self._asked(dim, truncate_dim, output_value)
        if layers is not None and settings.get("pool") is not None:
            raise ValueError(f"layers={layers} with a pool, whose processes hold all layers; give device=[…] instead")
        # An empty list has no vectors, but a dtype and a width: those of one text.
        empty = not isinstance(texts, str) and len(texts) == 0
        with first_layers(self, layers):
            vectors = super().encode(
                [""] if empty else texts,
                prompt_name=prompt_name,
                prompt=prompt,
                batch_size=TEXTS_A_PASS if batch_size is None else batch_size,
                show_progress_bar=show_progress_bar,
                output_value=output_value,
                precision=precision,
                convert_to_numpy=convert_to_numpy,
                convert_to_tensor=convert_to_tensor,
                device=device,
                # encode_query hands normalize_embeddings=False through unasked; with dim the rows are unit rows anyway.
                normalize_embeddings=normalize_embeddings or dim is not None,
                truncate_dim=asked,
                **pass_settings(batch_size, batch_tokens, dtype),
                **settings,
            )
        return vectors[:0] if empty else vectors

    @overload
    def encode_query(self, inputs: Texts = ..., *, convert_to_tensor: _True, **more: Unpack[_Words]) -> Tensor: ...
    @overload
    def encode_query(
        self, inputs: Texts = ..., *, convert_to_tensor: _False = ..., **more: Unpack[_Words]
    ) -> np.ndarray: ...

    def encode_query(
        self,
        inputs: Texts | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        *more: object,
        **settings: Any,
    ) -> np.ndarray | Tensor:
        """`encode` with the prompt of queries, as in sentence-transformers, and with all the keywords of `encode`."""
        texts = settings.pop("sentences", None) if inputs is None else inputs
        return super().encode_query(texts, prompt_name, prompt, batch_size, *more, **settings)

    @overload
    def encode_document(self, inputs: Texts = ..., *, convert_to_tensor: _True, **more: Unpack[_Words]) -> Tensor: ...
    @overload
    def encode_document(
        self, inputs: Texts = ..., *, convert_to_tensor: _False = ..., **more: Unpack[_Words]
    ) -> np.ndarray: ...

    def encode_document(
        self,
        inputs: Texts | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        *more: object,
        **settings: Any,
    ) -> np.ndarray | Tensor:
        """`encode` with the prompt of documents, as in sentence-transformers, and with all the keywords of `encode`."""
        texts = settings.pop("sentences", None) if inputs is None else inputs
        return super().encode_document(texts, prompt_name, prompt, batch_size, *more, **settings)

    def _asked(self, dim: int | None, truncate_dim: int | None, output_value: str | None) -> int | None:
        """The width to cut to; None for the full one."""
        if dim is not None and truncate_dim is not None:
            raise ValueError(f"dim={dim} and truncate_dim={truncate_dim} are both given; give only dim")
        if dim is not None and output_value != "sentence_embedding":
            raise ValueError(f"dim={dim} cuts sentence embeddings, but output_value is {output_value!r}; leave dim out")
        asked = truncate_dim if dim is None else dim
        return None if asked is None else whole_number("dim", asked, self.width, "width")
