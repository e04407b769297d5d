"""The run's model folder: plain sentence-transformers format, with a card that says where it came from."""

import logging
from pathlib import Path

from matryoshka_text.build.parts import Trained
from matryoshka_text.encoder.card import model_card
from matryoshka_text.encoder.lora import merged
from matryoshka_text.recipe import Recipe
from matryoshka_text.versions import __version__

__all__ = ["export"]

log = logging.getLogger(__name__)


def export(trained: Trained, recipe: Recipe, path: Path) -> None:
    """Write the model to `path`, its heads in it, whole or not at all; LoRA matrices are merged into the weights."""
    model = merged(trained.encoder).eval()
    model.heads = trained.heads()
    if not model.heads and model.resolved is not None and (model.resolved.path / "heads").is_dir():
        log.info("%s: its heads, fitted to it as it was, are left out of the trained model", model.resolved.name)
        model.resolved = None  # where they would be copied from
    # Otherwise the base's own card, scores and all, would be saved as this model's.
    layers = f" Trained layers: {', '.join(map(str, model.layers))}." if len(model.layers) > 1 else ""
    how = "fine-tuned" if recipe.objectives else "rotated"
    model._model_card_text = model_card(
        name=recipe.name,
        base=recipe.base.model,
        dims=model.dims,
        tags=("loss:MatryoshkaLoss",),
        words=f"{how} with matryoshka-text {__version__} so that every prefix of its\n{model.width}-dimensional "
        f"vectors works on its own. Trained dims: {', '.join(map(str, model.dims))}.{layers}{_rotation(recipe)}"
        f"{_objectives(recipe)}",
    )
    model.save(str(path))


def _rotation(recipe: Recipe) -> str:
    if recipe.rotation is None:
        return ""
    names = ", ".join(source.name for source in recipe.rotation.data or recipe.data)
    after = ", then trained further" if recipe.objectives and not recipe.rotation.frozen and recipe.lora is None else ""
    return (
        f" Its last Dense holds an orthogonal matrix, learned without labels from texts of {names}{after}. "
        "By itself it improves prefixes and leaves cosines at full width as they are."
    )


def _objectives(recipe: Recipe) -> str:
    if not recipe.objectives:
        return ""
    kinds = ", ".join(spec.kind for spec in recipe.objectives)
    return f" Objectives: {kinds}. Training data: {', '.join(source.name for source in recipe.data)}."
