"""The model that is rotated: opened, checked, and saved once it is turned."""

from dataclasses import dataclass
from pathlib import Path

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.card import model_card
from matryoshka_text.encoder.lora import merged
from matryoshka_text.encoder.mark import model_mark
from matryoshka_text.encoder.opening import require_one_text
from matryoshka_text.encoder.rotation import require_rotatable
from matryoshka_text.errors import ModelError
from matryoshka_text.prompts import ModelPrompts
from matryoshka_text.rotation import Rotation
from matryoshka_text.versions import __version__

__all__ = ["Base", "open_base", "save_rotated"]


@dataclass(frozen=True)
class Base:
    """An encoder, what it is called, and the sha256 that tells it from others."""

    encoder: MatryoshkaEncoder
    name: str
    weights: str


def open_base(
    model: str | Path | MatryoshkaEncoder, *, rotatable: bool = True, trust_remote_code: bool = False
) -> Base:
    """The model of that name; for a folder of a training run or a rotation, the model in it.

    `ModelError` for a model that gives no single vector for a text or, if it is to be `rotatable`, whose vectors have
    been cut already.
    """
    if isinstance(model, MatryoshkaEncoder):
        encoder, name = model, model.resolved.name if model.resolved is not None else "an encoder in memory"
        default = ModelPrompts.of(model).text(None)
        weights = model_mark(model, *([default] if default else []))
    else:
        encoder, name = MatryoshkaEncoder(model, trust_remote_code=trust_remote_code).eval(), str(model)
        assert encoder.resolved is not None
        weights = encoder.resolved.weights()
    require_one_text(encoder, name)
    if rotatable:
        try:
            require_rotatable(encoder)
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from error
    return Base(encoder, name, weights)


def save_rotated(base: Base, rotation: Rotation, path: Path) -> MatryoshkaEncoder:
    """The rotated encoder, written to `path` whole or not at all, as plain sentence-transformers reads it.

    A model without Normalize is saved without it: its inner products stay what they were.
    """
    found = merged(base.encoder).rotated(rotation).eval()
    found._model_card_text = model_card(
        name=path.resolve().parent.name,
        base=base.name,
        dims=found.dims,
        words=f"rotated with matryoshka-text {__version__}: its {found.width}-dimensional vectors are multiplied by\n"
        "an orthogonal matrix, so that the first dimensions work better on their own. Cosines at full width\n"
        f"are unchanged. Dimensions: {', '.join(map(str, found.dims))}.",
    )
    closing = found[-1]
    if base.encoder.normalized_by_us:
        del found[-1]
    found.save(str(path))
    if base.encoder.normalized_by_us:
        found.append(closing)
    return found
