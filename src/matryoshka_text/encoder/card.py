"""The README.md of a model that was made from another one."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["folder_name", "model_card"]

_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
{base_model}tags:
- sentence-transformers
- sentence-similarity
- feature-extraction
- matryoshka
{tags}---

# {name}

{base}, {words}

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")
vectors = model.encode(texts, truncate_dim={small}, normalize_embeddings=True)   # float32 [n, {small}], unit rows
```
"""


def model_card(*, name: str, base: str | None, dims: Sequence[int], words: str, tags: Sequence[str] = ()) -> str:
    """The card: `base` (None: not known), `words` on what was done to it, and how to read the smallest of `dims`."""
    base = base or "A sentence encoder"
    on_hub = base.count("/") == 1 and not base.startswith((".", "/", "~")) and not Path(base).exists()
    return _CARD.format(
        name=name,
        # The path of a local folder means nothing to whoever reads the card.
        base_model=f"base_model: {base}\n" if on_hub else "",
        base=f"[{base}](https://huggingface.co/{base})" if on_hub else folder_name(Path(base)),
        words=words,
        small=dims[0],
        tags="".join(f"- {tag}\n" for tag in tags),
    )


def folder_name(path: Path) -> str:
    """What a saved model is called: its folder, or for `<run>/model` the run."""
    whole = path.resolve()
    return whole.parent.name if whole.name == "model" else whole.name
