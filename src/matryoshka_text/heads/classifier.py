"""A saved model with its classification head: texts in, class names out, at any prefix the head reads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import ModelError
from matryoshka_text.heads.class_head import ClassHead

__all__ = ["MatryoshkaClassifier"]

PLACE = Path("heads", "classifier")

Texts = str | Sequence[str] | np.ndarray


class MatryoshkaClassifier:
    """The class of a text, read from a prefix of its vector: the unit-length vector at full width, cut, and the head.

    `dim` is a prefix length: any up to the width for a head of kind "mrl_e", one of the trained ones for "mrl". None is
    the longest trained one.
    """

    def __init__(self, model: str | Path, device: str | None = None, *, trust_remote_code: bool = False) -> None:
        """Open a model folder that training with `classify` wrote; ModelError if it has no classification head.

        `trust_remote_code`: run the Python code that the model brings along.
        """
        self.encoder = MatryoshkaEncoder(model, device=device, trust_remote_code=trust_remote_code)
        assert self.encoder.resolved is not None
        folder = self.encoder.resolved.path / PLACE
        if not folder.is_dir():
            raise ModelError(
                f"{model}: has no classification head, {PLACE.as_posix()} is not there; "
                f"use a model that was trained with the objective 'classify', or train one"
            )
        self.head = ClassHead.load(folder).to(self.encoder.device).eval()
        if self.head.width != self.encoder.width:
            raise ModelError(
                f"{folder}: the head reads vectors of width {self.head.width}, and the model's have width "
                f"{self.encoder.width}; use the head that was trained with this model"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.head.classes

    @property
    def dims(self) -> tuple[int, ...]:
        """The trained prefix lengths, ascending."""
        return self.head.dims

    def predict(self, texts: Texts, dim: int | None = None, *, batch_size: int = 32) -> str | list[str]:
        """The most probable class of each text; one text gives one name."""
        shares = self.predict_proba(texts, dim, batch_size=batch_size)
        if isinstance(texts, str):
            return self.classes[int(shares.argmax())]
        return [self.classes[place] for place in shares.argmax(1)]

    def predict_proba(
        self, texts: Texts, dim: int | None = None, *, batch_size: int = 32
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """The probability of each class, float32 [n, classes]; one text gives [classes]."""
        dim = self.dims[-1] if dim is None else self.head.checked_dim(dim)
        vectors = self._vectors([texts] if isinstance(texts, str) else texts, batch_size)
        with torch.inference_mode():
            shares = self.head.logits(vectors, dim).softmax(1).float().cpu().numpy()
        return shares[0] if isinstance(texts, str) else shares

    def accuracy(
        self,
        texts: Texts,
        labels: Sequence[str] | np.ndarray,
        dims: Sequence[int] | None = None,
        *,
        batch_size: int = 32,
    ) -> list[float]:
        """The share of texts whose class is predicted, in points x 100, at each of `dims` (None: the trained ones).

        The texts are encoded once. ValueError for labels that are no classes of the head, and for no texts at all.
        """
        target = torch.tensor(self._places(texts, labels), device=self.encoder.device)
        read = [self.head.checked_dim(dim) for dim in (self.dims if dims is None else dims)]
        vectors = self._vectors(texts, batch_size)
        with torch.inference_mode():
            right = [(self.head.logits(vectors, dim).argmax(1) == target).double().mean() for dim in read]
        return [100 * float(share) for share in right]

    def _vectors(self, texts: Texts, batch_size: int) -> Tensor:
        vectors: Tensor = self.encoder.encode(
            texts, batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False
        )
        return vectors

    def _places(self, texts: Texts, labels: Sequence[str] | np.ndarray) -> list[int]:
        if isinstance(texts, str) or len(texts) != len(labels) or not len(texts):
            raise ValueError(
                f"there are {len(texts)} texts and {len(labels)} labels; "
                f"allowed is a list of at least one text and a label for each"
            )
        place = {name: index for index, name in enumerate(self.classes)}
        if unknown := sorted({repr(label) for label in labels if label not in place}):
            shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
            known = ", ".join(map(repr, self.classes[:5])) + (", …" if len(self.classes) > 5 else "")
            raise ValueError(
                f"labels hold {len(unknown)} that are no classes of this head: {shown}; "
                f"allowed are its {len(self.classes)} classes: {known}"
            )
        return [place[label] for label in labels]
