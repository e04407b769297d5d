"""The run's model folder: plain sentence-transformers format, with a card that says where it came from."""

import logging
from pathlib import Path

from matryoshka_text import __version__
from matryoshka_text.encoder.adapter import merged
from matryoshka_text.heads.trained import Trained
from matryoshka_text.recipe import Recipe

__all__ = ["export"]

log = logging.getLogger(__name__)

_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
base_model: {base}
tags:
- sentence-transformers
- sentence-similarity
- feature-extraction
- matryoshka
- loss:MatryoshkaLoss
---

# {name}

[{base}](https://huggingface.co/{base}), {how} with matryoshka-text {version} so that every prefix of its
{width}-dimensional vectors works alone. Trained dims: {dims}.{layers}{rotation}{objectives}

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")
vectors = model.encode(texts, truncate_dim={small}, normalize_embeddings=True)   # float32 [n, {small}], unit rows
```
"""


def export(trained: Trained, recipe: Recipe, path: Path) -> None:
    """Write the model to `path`, its heads in it, whole or not at all; LoRA matrices are merged into the weights."""
    model = merged(trained.encoder).eval()
    model.heads = trained.heads()
    if not model.heads and model.resolved is not None and (model.resolved.path / "heads").is_dir():
        log.info("%s: its heads, fitted to it as it was, are left out of the trained model", model.resolved.name)
        model.resolved = None  # where they would be copied from
    # Otherwise the base's own card, scores and all, would be saved as this model's.
    model._model_card_text = _CARD.format(
        base=recipe.base.model,
        name=recipe.name,
        version=__version__,
        width=model.width,
        dims=", ".join(map(str, model.dims)),
        how="fine-tuned" if recipe.objectives else "rotated",
        rotation=_rotation(recipe),
        objectives=_objectives(recipe),
        small=model.dims[0],
        layers=f" Trained layers: {', '.join(map(str, model.layers))}." if len(model.layers) > 1 else "",
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
