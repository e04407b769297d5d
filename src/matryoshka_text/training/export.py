"""The run's model folder: plain sentence-transformers format, with a card that says where it came from."""

import logging
from pathlib import Path

from matryoshka_text import __version__
from matryoshka_text.encoder.adapter import merged
from matryoshka_text.encoder.card import model_card
from matryoshka_text.heads.trained import Trained
from matryoshka_text.recipe import Recipe

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
    objectives = ", ".join(spec.kind for spec in recipe.objectives)
    data = ", ".join(source.name for source in recipe.data)
    model._model_card_text = model_card(
        name=recipe.name,
        base=recipe.base.model,
        dims=model.dims,
        tags=("loss:MatryoshkaLoss",),
        words=f"fine-tuned with matryoshka-text {__version__} so that every prefix of its\n{model.width}-dimensional "
        f"vectors works alone. Trained dims: {', '.join(map(str, model.dims))}.{layers} Objectives: {objectives}. "
        f"Training data: {data}.",
    )
    model.save(str(path))
