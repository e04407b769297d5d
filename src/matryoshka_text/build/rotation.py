"""The settings of a rotation from its recipe section, and whether a base can take one."""

from collections.abc import Mapping

from matryoshka_text.data import require_enough_texts
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.rotation import require_rotatable
from matryoshka_text.errors import ModelError
from matryoshka_text.recipe import Recipe, RotationSection
from matryoshka_text.rotation import FitSettings

__all__ = ["fit_settings", "require_rotation"]


def fit_settings(section: RotationSection, seed: int) -> FitSettings:
    """The section's settings as `learn` takes them."""
    return FitSettings(
        start=section.start,
        anchors=section.anchors,
        neighbours=section.neighbours,
        temperature=section.temperature,
        steps=section.steps,
        learning_rate=section.learning_rate,
        warmup=section.warmup,
        check_every=section.check_every,
        seed=seed,
    )


def require_rotation(recipe: Recipe, encoder: MatryoshkaEncoder, counts: Mapping[str, int]) -> None:
    """`ModelError` for a base that cannot be rotated, `DataError` for too few texts; nothing without a rotation."""
    section = recipe.rotation
    if section is None:
        return
    try:
        require_rotatable(encoder)
    except ModelError as error:
        raise ModelError(f"{recipe.base.model}: {error}") from error
    require_enough_texts(section, counts, encoder.width)
