"""Recipe section -> object: the only room that knows both."""

from matryoshka_text.build.optimizer import build_optimizer, learning_rates
from matryoshka_text.build.parts import build_adapter, build_encoder, build_objectives, build_teacher, require_dims

__all__ = [
    "build_adapter",
    "build_encoder",
    "build_objectives",
    "build_optimizer",
    "build_teacher",
    "learning_rates",
    "require_dims",
]
