"""A run's folder: what is in it, whose it is, and whether it may be written."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from matryoshka_text import files
from matryoshka_text.encoder.folder import width_of
from matryoshka_text.errors import RecipeError, RunError
from matryoshka_text.files import write_whole
from matryoshka_text.recipe import Recipe, load_recipe
from matryoshka_text.records import read_record

__all__ = ["RunFolder"]


class _Head(BaseModel):
    """What is read of the config.json of a model's MLM head."""

    model_config = ConfigDict(strict=True)

    width: int = Field(gt=0)


@dataclass(frozen=True)
class RunFolder:
    """`runs/<name>-<hash8>/`: recipe.yaml, environment.json, metrics.jsonl, checkpoints/, best/, model/.

    `trunk` is the folder of the run that this one is a twin of.
    """

    path: Path
    trunk: Path | None = None

    @classmethod
    def of(cls, recipe: Recipe, out: Path | None) -> "RunFolder":
        """The folder the recipe's run goes to; `out` is the run folder itself if it is given."""
        return cls(out if out is not None else Path("runs") / f"{recipe.name}-{recipe.hash8}")

    @property
    def recipe(self) -> Path:
        """The recipe with every value filled in."""
        return self.path / "recipe.yaml"

    def is_of(self, recipe: Path) -> bool:
        """Whether `recipe` is the record of this folder's run."""
        return recipe.name == self.recipe.name and self.environment.is_file()

    @property
    def environment(self) -> Path:
        """Versions, commit, device, threads, data fingerprints."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """One line a step, and one an evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Resumable states."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The weights with the best held-out score so far, by step."""
        return self.path / "best"

    @property
    def model(self) -> Path:
        """The trained model, in plain sentence-transformers format: there once the run has ended."""
        return self.path / "model"

    @property
    def adapter(self) -> Path:
        """Only the LoRA matrices, if the recipe keeps them."""
        return self.path / "adapter"

    @property
    def twins(self) -> Path:
        """The runs of the twins, by name."""
        return self.path / "twins"

    @property
    def rotation(self) -> Path:
        """The rotation of the base, once it has been learned."""
        return self.path / "rotation.safetensors"

    @property
    def rotation_record(self) -> Path:
        """How the rotation was learned and what it does: texts, losses, neighbours kept."""
        return self.path / "rotation.json"

    @property
    def rotation_vectors(self) -> Path:
        """The vectors that the rotation is learned from, until it has been written."""
        return self.path / "rotation-vectors"

    def mined(self, source: str) -> Path:
        """The pairs that were mined for a source, once."""
        return self.path / f"mined-{source}.jsonl"

    def widths(self) -> tuple[int, int]:
        """The width of the trained model's vectors, and the longest prefix that its losses could read."""
        width = width_of(self.model)
        assert width is not None
        head = self.model / "heads" / "mlm" / "config.json"
        way_out = "put the model back, or start again with another --out"
        own = read_record(head, _Head, "mtext train", way_out=way_out).width if head.exists() else width
        return width, min(width, own)

    @property
    def finished(self) -> bool:
        """Whether the run has ended: the model appears whole, and last."""
        return (self.model / "modules.json").is_file()

    def require_mine(self, recipe: Recipe, *, resume: bool) -> Recipe:
        """The recipe to go on with: `recipe`, with what it leaves open as the run in the folder began.

        `RunError` if the folder is in the way, or is another recipe's. Writes nothing. Only while the folder is held
        does the answer stay true.
        """
        if not self.path.exists() or not _visible(self.path):
            return recipe
        if not resume:
            raise RunError(
                f"{self.path}: holds a run already; go on with it with --resume, write elsewhere with --out DIR, "
                "or remove the folder"
            )
        if not self.recipe.exists():
            # Pairs are mined, and the rotation is learned, before the run begins: a kill may have left only them.
            rotation = {self.rotation.name, self.rotation_record.name, self.rotation_vectors.name}
            names = _visible(self.path) - rotation
            strangers = sorted(name for name in names if not (name.startswith("mined-") and name.endswith(".jsonl")))
            if strangers:
                raise RunError(
                    f"{self.path}: holds {', '.join(strangers[:5])}, but no recipe.yaml, so it is no run folder; "
                    "give another folder with --out DIR"
                )
            return recipe
        return self._same(recipe)

    def _same(self, recipe: Recipe) -> Recipe:
        try:
            stored = load_recipe(self.recipe)
        except RecipeError as error:
            raise RunError(f"{self.recipe}: cannot be read, so the run cannot be resumed: {error}") from error
        recipe = recipe.filled_from(stored)
        if stored.hash8 != recipe.hash8:
            raise RunError(
                f"{self.path}: is the run of another recipe ({_difference(stored, recipe)}); "
                "resume it with its own recipe.yaml, or write elsewhere with --out DIR"
            )
        return recipe

    def start(self, recipe: Recipe, environment: dict[str, Any]) -> None:
        """Make the folder and its two records."""
        self.path.mkdir(parents=True, exist_ok=True)
        # The recipe first: it is what tells a run's folder, killed a moment later, from anybody else's.
        write_whole(self.recipe, recipe.dump_yaml())
        write_whole(self.environment, json.dumps(environment, indent=2) + "\n")

    def sweep(self) -> None:
        """Remove what a kill left half written."""
        for home in (self.path, self.checkpoints, self.best):
            files.sweep(home)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The folder, held against a second run in it at the same time; a kill lets go of it by itself."""
        with files.held(self.path, doing="training"):
            yield


def _visible(folder: Path) -> set[str]:
    """The names in `folder` but those with a dot before them, such as the lock's."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def _difference(stored: Recipe, given: Recipe) -> str:
    ours, theirs = _flat(given.model_dump(mode="json")), _flat(stored.model_dump(mode="json"))
    keys = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
    shown = "; ".join(f"{key}: {theirs.get(key)!r} there, {ours.get(key)!r} here" for key in keys[:3])
    return shown + (f"; {len(keys) - 3} more" if len(keys) > 3 else "")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in _flat(part, f"{prefix}.{key}".lstrip(".")).items()}
    if isinstance(value, list):
        return {k: v for i, part in enumerate(value) for k, v in _flat(part, f"{prefix}[{i}]").items()}
    return {prefix: value}
