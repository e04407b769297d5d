"""matryoshka-text: fine-tune sentence embeddings whose every prefix is good."""

from importlib import import_module
from typing import TYPE_CHECKING

from matryoshka_text.versions import __version__ as __version__

if TYPE_CHECKING:
    from matryoshka_text.encoder import MatryoshkaEncoder
    from matryoshka_text.evaluation import evaluate
    from matryoshka_text.heads.classifier import MatryoshkaClassifier
    from matryoshka_text.heads.masked_lm import MatryoshkaMaskedLM
    from matryoshka_text.recipe import load_recipe
    from matryoshka_text.rotating import rotate
    from matryoshka_text.rotation import Rotation
    from matryoshka_text.training import train

__all__ = [
    "MatryoshkaClassifier",
    "MatryoshkaEncoder",
    "MatryoshkaMaskedLM",
    "Rotation",
    "evaluate",
    "load_recipe",
    "rotate",
    "train",
]

# Lazy (PEP 562): `mtext --help` must not pay two seconds for importing torch.
_HOME = {
    "MatryoshkaClassifier": "matryoshka_text.heads.classifier",
    "MatryoshkaMaskedLM": "matryoshka_text.heads.masked_lm",
    "MatryoshkaEncoder": "matryoshka_text.encoder",
    "evaluate": "matryoshka_text.evaluation",
    "Rotation": "matryoshka_text.rotation",
    "load_recipe": "matryoshka_text.recipe",
    "rotate": "matryoshka_text.rotating",
    "train": "matryoshka_text.training",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
