"""A masked-language model whose decoder is read at any prefix: its scores on held-out text, and its guesses."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from matryoshka_text.data.masking import MaskedChunk, Masker
from matryoshka_text.data.packing import pack
from matryoshka_text.dims import check_dims
from matryoshka_text.encoder.lora import merged
from matryoshka_text.encoder.matryoshka import MatryoshkaEncoder
from matryoshka_text.encoder.tokens import usable_tokens
from matryoshka_text.errors import DataError, ModelError
from matryoshka_text.files import added_to_folder
from matryoshka_text.heads.family import FamilyTransform, backbone_of, called, full_model
from matryoshka_text.heads.vocabulary import SAVED_AS, Cut, VocabularyHead, masked_hidden, vocabulary_matrix
from matryoshka_text.nested.prefixes import blocks

__all__ = ["MaskedScores", "MatryoshkaMaskedLM"]

_MOST_LOGITS = 1 << 24
"""Logits held at once while scoring: 64 MiB in float32."""


@dataclass(frozen=True)
class MaskedScores:
    """What a masked-language model predicts of `tokens` masked tokens, at each prefix length of `dims`.

    `accuracy` in points (times 100), `loss` as the mean cross-entropy in nats, `perplexity` as its exponential.
    """

    dims: tuple[int, ...]
    accuracy: tuple[float, ...]
    loss: tuple[float, ...]
    perplexity: tuple[float, ...]
    tokens: int


class MatryoshkaMaskedLM:
    """An encoder and the vocabulary-tied head that was trained with it, or its checkpoint's own."""

    def __init__(
        self,
        model: str | Path,
        cut: Cut | None = None,
        device: str | None = None,
        *,
        trust_remote_code: bool = False,
    ) -> None:
        """Open a folder, a cached or hub model: the head saved in its heads/mlm, else the checkpoint's own MLM head.

        `cut` None takes that of the saved head, or "transform" for the checkpoint's own. `ModelError` if the model
        has neither, or its saved head has another cut. `trust_remote_code`: run the Python code that the model brings
        along.
        """
        self.encoder = MatryoshkaEncoder(model, device=device, trust_remote_code=trust_remote_code)
        self.head = _opened(self.encoder, cut)

    @classmethod
    def around(cls, encoder: MatryoshkaEncoder, head: VocabularyHead) -> "MatryoshkaMaskedLM":
        """The model of an encoder and a head that are in memory already, for instance in training."""
        made = cls.__new__(cls)
        made.encoder, made.head = encoder, head
        return made

    def scores(
        self,
        texts: Sequence[str],
        dims: Sequence[int],
        *,
        max_length: int = 128,
        share: float = 0.15,
        replace: Sequence[float] = (0.8, 0.1, 0.1),
        whole_words: bool = False,
        packing: bool = True,
        seed: int = 0,
        batch_size: int = 32,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> MaskedScores:
        """Accuracy and loss on masked tokens of the texts, packed into sequences of `max_length` tokens, or one each.

        `share` of the tokens is to be guessed: of those, `replace` become the mask token, a random one, or stay (as in
        BERT); with `whole_words` all tokens of a word, or none. `seed` fixes the draw for every batch size. Dropout is
        off; torch's random state and the modules' modes are left as they were. `on_progress` hears of sequences done,
        of how many. `DataError` if the texts have no token that can be masked; `ModelError` for dims that the head
        does not have, a `max_length` above what the model can read, a tokenizer without a mask token, or `whole_words`
        with one that does not know words.
        """
        checked = self._checked_dims(dims)
        masker = Masker(self.encoder.tokenizer, share, replace, whole_words)
        self._require_length(max_length)
        packed = pack(texts, self.encoder.tokenizer, max_length=max_length, packing=packing)
        tally = _Tally(checked)
        with _evaluating(self.encoder, self.head), torch.no_grad():
            matrix = vocabulary_matrix(backbone_of(self.encoder)).float()
            for start in range(0, len(packed), batch_size):
                part = range(start, min(start + batch_size, len(packed)))
                ids, words = [packed.ids(i) for i in part], [packed.words_of(i) for i in part]
                masked = masker.mask(ids, keys=[(seed, i) for i in part], words=words)
                for chunk in masker.chunks(masked, None):
                    tally.add(self._rows(chunk), matrix, self.head.bias, chunk.target.to(matrix.device))
                if on_progress is not None:
                    on_progress(part.stop, len(packed))
        return tally.scores()

    def fill(self, text: str, dim: int | None = None, top: int = 5) -> list[list[tuple[str, float]]]:
        """For each mask token in the text, the `top` likeliest tokens and their probabilities, at prefix length `dim`.

        None is the head's full width. ValueError if the text has no mask token within the model's length.
        """
        (checked,) = self._checked_dims([self.head.width if dim is None else dim])
        tokenizer, matrix = self.encoder.tokenizer, vocabulary_matrix(backbone_of(self.encoder))
        if tokenizer.mask_token is None:
            raise ModelError(f"{called(self.encoder)}: its tokenizer has no mask token; take another base")
        if not 1 <= top <= len(matrix):
            raise ValueError(f"top is {top}; allowed: 1 to {len(matrix)}, the words of the vocabulary")
        most = usable_tokens(self.encoder)
        found = tokenizer([text], truncation=most is not None, max_length=most, return_tensors="pt", verbose=False)
        features = {name: found[name] for name in ("input_ids", "attention_mask")}
        length = features["input_ids"].numel()
        rows = (features["input_ids"].flatten() == tokenizer.mask_token_id).nonzero().flatten()
        if not len(rows):
            raise ValueError(
                f"text is {text!r}, without {tokenizer.mask_token} in its first {length} tokens; "
                f"write {tokenizer.mask_token} where a word is to be found"
            )
        chunk = MaskedChunk(features, rows, rows, length)
        with _evaluating(self.encoder, self.head), torch.no_grad():
            logits = self._rows(chunk)[:, :checked] @ matrix[:, :checked].T + self.head.bias
            best = logits.softmax(1).topk(top, dim=1)
        return [
            [(tokenizer.decode([token]).strip(), share) for token, share in zip(tokens, shares, strict=True)]
            for tokens, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def truncated(self, dim: int) -> "MatryoshkaMaskedLM":
        """A model whose head is cut to `dim`: its `scores` and `fill` at dims up to `dim` are those of this one.

        Only the head becomes smaller: its transform is [dim, dim], and its decoder the first `dim` columns of the
        vocabulary matrix, read through the tie. The backbone and the embedding matrix stay whole, as the input needs
        them; `around(encoder.truncated(layers=…), head)` is a model with fewer layers. The encoder is a copy, LoRA
        merged in, its other heads left out. `ModelError` unless the head's cut is "nested", the one whose prefix does
        without the tail; ValueError if `dim` is no prefix length of its transform.
        """
        head = self.head.truncated(dim)
        encoder = self.encoder.truncated()
        encoder.heads = {SAVED_AS: head}
        return MatryoshkaMaskedLM.around(encoder, head)

    def save(self, folder: str | Path) -> None:
        """Write the encoder, this head and the other `heads` that the encoder holds; this class opens the folder."""
        heads = self.encoder.heads
        self.encoder.heads = {**heads, SAVED_AS: self.head}
        try:
            self.encoder.save(str(folder))
        finally:
            self.encoder.heads = heads

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model and tokenizer as `AutoModelForMaskedLM` of transformers loads them, the decoder tied.

        Its logits are those of full width. `ModelError` unless the cut is "transform": no other one is a head that
        transformers knows, nor is a bias where the family's decoder has none.
        """
        if not isinstance(self.head.transform, FamilyTransform):
            raise ModelError(
                f"the cut is {self.head.cut!r}, and transformers has only the family's own head; save it with `save`, "
                "and open it with MatryoshkaMaskedLM, or train with cut 'transform'"
            )
        encoder = merged(self.encoder)
        model = full_model(encoder, self.head.transform, self.head.bias)
        with added_to_folder(Path(folder)) as made:
            model.save_pretrained(made)
            encoder.tokenizer.save_pretrained(made)

    def _rows(self, chunk: MaskedChunk) -> Float[Tensor, "n e"]:
        on_device = chunk.to(self.head.bias.device)
        return self.head.rows(masked_hidden(backbone_of(self.encoder), on_device.features, on_device.rows)).float()

    def _checked_dims(self, dims: Sequence[int]) -> tuple[int, ...]:
        width = self.head.width
        if dims and max(dims) > width:
            whole = vocabulary_matrix(backbone_of(self.encoder)).shape[1] == width
            found = "vocabulary matrix" if whole else "truncated head"
            raise ModelError(
                f"dims are {list(dims)}, but the {found} of {called(self.encoder)} is {width} wide; "
                f"allowed: prefix lengths up to {width}"
            )
        return check_dims(dims, width)

    def _require_length(self, max_length: int) -> None:
        most = usable_tokens(self.encoder)
        if most is not None and max_length > most:
            raise ModelError(
                f"max_length is {max_length}, but {called(self.encoder)} can read {most} tokens; use at most {most}"
            )


class _Tally:
    """Sums over masked tokens at each prefix length, from one product: its partial sums are the prefixes' logits."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        self._dims, self._tokens = dims, 0
        self._loss: Float64[Tensor, " k"] = torch.zeros(len(dims), dtype=torch.float64)
        self._right: Float64[Tensor, " k"] = torch.zeros(len(dims), dtype=torch.float64)

    def add(
        self,
        rows: Float[Tensor, "n e"],
        matrix: Float[Tensor, "v e"],
        bias: Float[Tensor, " v"],
        target: Int[Tensor, " n"],
    ) -> None:
        """Count the masked tokens `target`, a few rows at a time."""
        most = max(1, _MOST_LOGITS // len(matrix))
        for some, wanted in zip(torch.split(rows, most), torch.split(target, most), strict=True):
            logits = bias.float().expand(len(some), -1).clone()
            for place, block in enumerate(blocks(self._dims)):
                logits.addmm_(some[:, block], matrix[:, block].T)
                self._loss[place] += F.cross_entropy(logits, wanted, reduction="none").double().sum().cpu()
                self._right[place] += (logits.argmax(1) == wanted).sum().cpu()
        self._tokens += len(target)

    def scores(self) -> MaskedScores:
        """The means; `DataError` if no token was counted."""
        if not self._tokens:
            raise DataError("the texts hold special and unknown tokens only, none of which is masked; give other text")
        loss = (self._loss / self._tokens).tolist()
        return MaskedScores(
            dims=self._dims,
            accuracy=tuple((100 * self._right / self._tokens).tolist()),
            loss=tuple(loss),
            perplexity=tuple(math.exp(value) if value < 700 else math.inf for value in loss),
            tokens=self._tokens,
        )


def _opened(encoder: MatryoshkaEncoder, cut: Cut | None) -> VocabularyHead:
    assert encoder.resolved is not None  # it was opened by name
    folder = encoder.resolved.path / "heads" / SAVED_AS
    if folder.is_dir():
        head = VocabularyHead.load(folder, encoder)
        if cut not in (None, head.cut):
            raise ModelError(f"{folder}: the head was trained with cut {head.cut!r}, not {cut!r}; leave cut out")
        return head
    width = vocabulary_matrix(backbone_of(encoder)).shape[1]
    head = VocabularyHead.of(encoder, cut=cut or "transform", dims=(width,))
    if head.fresh or head.cut == "nested":
        raise ModelError(
            f"{called(encoder)}: holds no trained head with cut {head.cut!r}: neither heads/{SAVED_AS} nor one in its "
            "checkpoint; train one (objective mlm in a recipe), or open a checkpoint with a masked-language head"
        )
    return head


@contextmanager
def _evaluating(*modules: nn.Module) -> Iterator[None]:
    """All modules in evaluation mode, and afterwards each in the mode it had."""
    before = [(module, module.training) for whole in modules for module in whole.modules()]
    for whole in modules:
        whole.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
