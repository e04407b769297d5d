"""`train`: everything is checked first, then the run folder is made, then the loop runs."""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from matryoshka_text.build.optimizer import build_optimizer, learning_rates
from matryoshka_text.build.parts import build_adapter, build_encoder, build_objectives, build_teacher
from matryoshka_text.data import BatchPlan, Examples, HeldOutRows, fingerprint, read_examples, read_held_out
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import RecipeError, RunError
from matryoshka_text.extras import optional
from matryoshka_text.files import require_space
from matryoshka_text.fingerprint import weights_hash
from matryoshka_text.recipe import Recipe, load_recipe
from matryoshka_text.training.environment import differences, environment, require_same_data
from matryoshka_text.training.folder import RunFolder
from matryoshka_text.training.loop import Loop
from matryoshka_text.training.plan import plan_epoch
from matryoshka_text.training.precision import choose_precision
from matryoshka_text.training.run import Run

__all__ = ["TrainedRun", "train"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRun:
    """What `train` leaves behind: the run's folder and the model in it (not there yet after a dry run)."""

    folder: Path
    model: Path
    steps: int
    summary: str


def train(
    recipe: Recipe | Path | str, *, out: Path | str | None = None, resume: bool = False, dry_run: bool = False
) -> TrainedRun:
    """Train `recipe` and give its run: `out`, or runs/<name>-<hash8>/, with the model in `model/`.

    `resume` goes on from the newest checkpoint (from step 0 where there is none, and not at all where the run has
    ended); on a CPU with the same threads, processes and versions the weights come out bit for bit as without the
    break. `dry_run` checks everything, says what would be run, and writes nothing. Under `accelerate launch` every
    process calls this. Errors are `MtextError`s, raised before anything is written wherever that can be known.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(Path(recipe))
    folder = RunFolder.of(recipe, Path(out) if out is not None else None)
    if not dry_run:
        folder.require_mine(recipe, resume=resume)
    if folder.finished and resume and not dry_run:
        return TrainedRun(
            folder.path, folder.model, 0, f"{folder.path}: this run has ended already; its model is in {folder.model}"
        )
    job = _prepare(recipe, folder)
    if dry_run:
        return TrainedRun(folder.path, folder.model, 0, job.outlook())
    job.accelerator.wait_for_everyone()
    return job.run()


@dataclass
class _Job:
    """A run, ready to start: all its inputs have been read and found good."""

    recipe: Recipe
    folder: RunFolder
    accelerator: Accelerator
    precision: Literal["float32", "bf16"]
    examples: Examples
    held_out: list[HeldOutRows]
    encoder: MatryoshkaEncoder
    teacher: MatryoshkaEncoder | None
    first_epoch: BatchPlan
    steps: int

    def outlook(self) -> str:
        """What the run would do, in a few lines."""
        origin = self.encoder.resolved.origin if self.encoder.resolved else "?"
        size = sum(p.numel() for p in self.encoder.parameters())
        return "\n".join(
            [
                f"run      {self.folder.path}",
                f"base     {self.recipe.base.model} (from the {origin}), "
                f"width {self.encoder.width}, {size:,} parameters",
                f"dims     {', '.join(map(str, self.recipe.dims))}",
                f"data     {len(self.examples):,} rows of {', '.join(s.name for s in self.recipe.data)}; "
                f"{len(self.first_epoch):,} batches of {self.recipe.batch.size} an epoch, "
                f"{self.first_epoch.left_over:,} rows left over",
                f"steps    {self.steps:,} ({self.steps / len(self.first_epoch):.2f} epochs)",
                f"device   {self.accelerator.device}, {self.accelerator.num_processes} process(es), "
                f"precision {self.precision}",
            ]
        )

    def run(self) -> TrainedRun:
        """Train to the end, and export."""
        if self.accelerator.is_main_process:
            self._require_space()
            with self.folder.held():
                return self._train()
        return self._train()

    def _train(self) -> TrainedRun:
        now = self._environment()
        if self.accelerator.is_main_process:
            self._start(now)
        self.accelerator.wait_for_everyone()
        optimizer = build_optimizer(self.recipe.optimizer, self.encoder)
        loop = Loop(
            self.recipe,
            self.examples,
            self.encoder,
            self.teacher,
            build_objectives(self.recipe),
            optimizer,
            learning_rates(self.recipe.optimizer, self.steps),
            self.accelerator,
            self.precision,
        )
        run = Run(self.recipe, self.folder, loop, self.held_out, self.first_epoch, self.steps)
        return TrainedRun(self.folder.path, self.folder.model, self.steps, run.to_the_end())

    def _environment(self) -> dict[str, object]:
        resolved = self.encoder.resolved
        assert resolved is not None
        given = self.teacher.resolved if self.teacher is not None else None
        return environment(
            device=self.accelerator.device,
            processes=self.accelerator.num_processes,
            precision=self.precision,
            data=fingerprint(self.recipe),
            model={
                "name": resolved.name,
                "origin": resolved.origin,
                "base": weights_hash(resolved.path),
                "teacher": weights_hash(given.path) if given is not None else None,
            },
        )

    def _require_space(self) -> None:
        """Better now than at the first checkpoint: weights and two moments, the model, and the next checkpoint."""
        size = sum(p.numel() * 4 for p in self.encoder.parameters())
        require_space(self.folder.path, (2 * 3 + 1) * size, what="the run (two checkpoints and the model)")

    def _start(self, now: dict[str, object]) -> None:
        folder = self.folder
        folder.sweep()
        if not (folder.environment.exists() and folder.recipe.exists()):
            folder.start(self.recipe, now)
            return
        stored = _stored(folder)
        require_same_data(stored, now, folder.path)
        if changed := differences(stored, now):
            log.warning("%s: resumed elsewhere, so the last bits may differ: %s", folder.path, "; ".join(changed))


def _prepare(recipe: Recipe, folder: RunFolder) -> _Job:
    examples = read_examples(recipe)
    held_out = [read_held_out(held, recipe.folder) for held in recipe.evaluation.data] if recipe.evaluation else []
    accelerator = _accelerator(recipe, folder)
    if recipe.batch.size % accelerator.num_processes:
        raise RecipeError(
            f"batch.size is {recipe.batch.size}, which {accelerator.num_processes} processes cannot share evenly; "
            f"allowed: multiples of {accelerator.num_processes}"
        )
    first = plan_epoch(recipe, examples, 0)
    steps = recipe.stopping.steps or math.ceil((recipe.stopping.epochs or 1) * len(first))
    encoder = build_encoder(recipe, accelerator.device)
    # Before the adapter goes in: the teacher is the model as it was.
    teacher = build_teacher(recipe, encoder)
    build_adapter(recipe, encoder)
    precision = _precision(recipe, folder, accelerator)
    return _Job(recipe, folder, accelerator, precision, examples, held_out, encoder, teacher, first, steps)


def _accelerator(recipe: Recipe, folder: RunFolder) -> Accelerator:
    if "tensorboard" in recipe.trackers:
        optional("tensorboard", extra="quickstart", purpose="the tracker tensorboard")
    # The recipe alone decides the precision: what `accelerate config` says of it must not change the model.
    return Accelerator(mixed_precision="no", log_with=list(recipe.trackers) or None, project_dir=str(folder.path))


def _precision(recipe: Recipe, folder: RunFolder, accelerator: Accelerator) -> Literal["float32", "bf16"]:
    """The run's precision: as stored, as asked, or as measured by the main process for all of them."""
    if folder.environment.exists():
        stored: Literal["float32", "bf16"] = _stored(folder)["precision"]
        return stored
    chosen = [choose_precision(recipe.precision, accelerator.device)]
    broadcast_object_list(chosen)
    return chosen[0]


def _stored(folder: RunFolder) -> dict[str, Any]:
    """environment.json as the run wrote it."""
    try:
        stored = json.loads(folder.environment.read_text())
        return {**stored, "precision": stored["precision"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{folder.environment}: cannot be read ({type(error).__name__}: {error}); put it back, or start again with "
            "another --out"
        ) from error
