"""Related texts without pairs: each text with its nearest neighbours by the starting model's own vectors."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, TypeAdapter
from torch import Tensor

from matryoshka_text.data import Example, SourceRows, different, table_of
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.mark import model_mark
from matryoshka_text.errors import DataError, ModelError
from matryoshka_text.files import write_whole
from matryoshka_text.progress import Progress
from matryoshka_text.prompts import ModelPrompts
from matryoshka_text.recipe import Source
from matryoshka_text.recipe.sources import prompt_names
from matryoshka_text.rotation.neighbours import nearest

__all__ = ["MinedPair", "MinedRows", "mine_pairs", "stored_pairs"]

log = logging.getLogger(__name__)

_AT_ONCE = 4096  # texts given to the encoder in one call, which sorts them by length


_Row = Annotated[int, Field(ge=0)]
_HEAD: TypeAdapter[dict[str, str | int]] = TypeAdapter(dict[str, str | int])
_PAIR: TypeAdapter[tuple[int, int, float]] = TypeAdapter(tuple[_Row, _Row, Annotated[float, Field(ge=-2, le=2)]])


class MinedPair(NamedTuple):
    """The rows of two texts, and the cosine of their vectors at full width."""

    anchor: int
    positive: int
    cosine: float


@dataclass(frozen=True)
class MinedRows(SourceRows):
    """Pairs of a source's texts as (anchor, positive), with the numbers of the anchors' rows."""

    pairs: tuple[MinedPair, ...] = ()


def mine_pairs(
    encoder: MatryoshkaEncoder, rows: SourceRows, source: Source, *, batch_size: int = 64, block: int = 1024
) -> MinedRows:
    """Each text of `rows` with its `source.neighbours.count` nearest other texts, by the cosine at full width.

    Nearest by exact search, so unsupervised tuning keeps what the starting model holds to be close, the way of the
    top-k similarity loss of Matryoshka-Adaptor (arXiv:2407.20243, section 3) and of NNCLR's positives
    (arXiv:2104.14548). Texts that are equal, case and blanks aside, count as the first of them. A pair of texts comes
    once, the earlier text that chose the other as anchor; pairs stand in the order of their anchors, nearest first,
    and neighbours that are equally near in that of the rows. Neighbours below `source.neighbours.lowest` make no pair.
    `DataError` if nothing is left. The encoder's mode is left as it was, and its random state is not drawn from.
    """
    assert source.neighbours is not None
    count, lowest = source.neighbours.count, source.neighbours.lowest
    (texts,) = rows.columns
    first = different(texts)
    if len(first) < 2:
        raise DataError(
            f"{rows.label}: found {len(rows)} texts that are all the same; allowed: at least two different ones "
            f"in a mined source ({source.name!r}); use more data"
        )
    what = f"{source.name}: embedding"
    prompt = _prompt(encoder, source)
    vectors = _embedded(encoder, [texts[row] for row in first], what, prompt=prompt, batch_size=batch_size)
    found = nearest(vectors, min(count, len(first) - 1), block=block)
    with Progress(f"{source.name}: neighbours", "texts", len(first), shown=True) as bar:
        pairs, highest = _chosen(found, first, lowest, bar)
    if not pairs:
        raise DataError(
            f"{rows.label}: found no two texts of source {source.name!r} with a cosine of at least {lowest}; "
            f"allowed: a neighbours.lowest of at most {highest:.4f}, the highest there is; lower it, or use more data"
        )
    return _paired(rows, pairs)


def _chosen(
    found: Iterable[tuple[list[int], list[float]]], first: Sequence[int], lowest: float | None, progress: Progress
) -> tuple[tuple[MinedPair, ...], float]:
    """Each pair of texts once, and the highest cosine there is."""
    pairs: dict[tuple[int, int], MinedPair] = {}
    highest = -1.0
    for row, (others, cosines) in enumerate(found):
        highest = max(highest, cosines[0])
        for other, cosine in zip(others, cosines, strict=True):
            if lowest is None or cosine >= lowest:
                key = (min(row, other), max(row, other))
                pairs.setdefault(key, MinedPair(first[row], first[other], cosine))
        progress(1)
    return tuple(pairs.values()), highest


def stored_pairs(
    path: Path | None,
    encoder: MatryoshkaEncoder,
    rows: SourceRows,
    source: Source,
    compute: Callable[[MatryoshkaEncoder, SourceRows, Source], MinedRows] = mine_pairs,
) -> MinedRows:
    """The pairs that `path` holds of these texts, this model and these settings; else what `compute` gives, kept there.

    The file has a line with a fingerprint of texts, model and settings, and a line [anchor, positive, cosine] for each
    pair. None as `path` keeps nothing.
    """
    if path is None:
        return compute(encoder, rows, source)
    mark = _fingerprint(encoder, rows, source)
    if path.exists():
        if (found := _read(path, mark, len(rows))) is not None:
            return _paired(rows, found)
        log.warning("%s: holds pairs of other texts or another model, or is damaged; they are mined anew", path)
    made = compute(encoder, rows, source)
    lines = [json.dumps({"fingerprint": mark, "pairs": len(made.pairs)}), *(json.dumps(pair) for pair in made.pairs)]
    write_whole(path, "\n".join(lines) + "\n")
    return made


def _prompt(encoder: MatryoshkaEncoder, source: Source) -> str:
    return ModelPrompts.of(encoder).text(*prompt_names(source, 1))


def _embedded(
    encoder: MatryoshkaEncoder, texts: Sequence[str], what: str, *, prompt: str, batch_size: int
) -> Float[Tensor, "n d"]:
    was_training = encoder.training
    found: list[np.ndarray] = []
    with Progress(what, "texts", len(texts), shown=True) as bar:
        for start in range(0, len(texts), _AT_ONCE):
            part = list(texts[start : start + _AT_ONCE])
            found.append(encoder.encode(part, prompt=prompt, batch_size=batch_size, show_progress_bar=False))
            bar(len(part))
    encoder.train(was_training)
    vectors = torch.from_numpy(np.concatenate(found))
    if not bool(torch.isfinite(vectors).all()):
        raise ModelError("the starting model gives vectors that are not finite; use another base, or other texts")
    return vectors.to(encoder.device)


def _paired(rows: SourceRows, pairs: tuple[MinedPair, ...]) -> MinedRows:
    (texts,), numbers = rows.columns, rows.numbers
    examples = (Example(int(numbers[p.anchor]), (texts[p.anchor], texts[p.positive])) for p in pairs)
    return MinedRows(rows.label, table_of(examples), pairs=pairs)


def _fingerprint(encoder: MatryoshkaEncoder, rows: SourceRows, source: Source) -> str:
    settings = source.neighbours.model_dump() if source.neighbours is not None else None
    prompt = _prompt(encoder, source)
    return model_mark(encoder, list(rows.texts()), settings, *([prompt] if prompt else []))


def _read(path: Path, mark: str, rows: int) -> tuple[MinedPair, ...] | None:
    """The stored pairs; None if they are not of that fingerprint, or not whole."""
    try:
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        if _HEAD.validate_json(head) != {"fingerprint": mark, "pairs": len(lines)}:
            return None
        pairs = [_PAIR.validate_json(line, strict=True) for line in lines]
    except (OSError, ValueError):
        return None
    return tuple(MinedPair(*pair) for pair in pairs) if all(max(pair[:2]) < rows for pair in pairs) else None
