"""`train`: everything is checked first, then the run folder is made, then the loop runs."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from matryoshka_text.build.optimizer import build_optimizer, learning_rates
from matryoshka_text.build.runtime import Runtime
from matryoshka_text.checkpoint import latest_checkpoint
from matryoshka_text.data import fingerprint
from matryoshka_text.encoder.dtype import choose_dtype
from matryoshka_text.errors import RecipeError, RunError
from matryoshka_text.extras import optional
from matryoshka_text.files import require_space
from matryoshka_text.fingerprint import weights_hash
from matryoshka_text.nested import choose_backend
from matryoshka_text.process_group import leave_at_exit
from matryoshka_text.recipe import READS, Recipe, Twin, load_recipe, twins_of
from matryoshka_text.training.environment import differences, environment, require_same_data
from matryoshka_text.training.folder import RunFolder
from matryoshka_text.training.inputs import Inputs, read_inputs
from matryoshka_text.training.loop import Loop
from matryoshka_text.training.plan import batch_size
from matryoshka_text.training.processes import Processes
from matryoshka_text.training.rotated import export_rotated
from matryoshka_text.training.run import Run
from matryoshka_text.training.setup import build_streams

__all__ = ["TrainedRun", "train"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRun:
    """What `train` leaves behind: the run's folder and the model in it (not there yet after a dry run)."""

    folder: Path
    model: Path
    steps: int
    summary: str


@dataclass(frozen=True)
class _Trunk:
    """What a run's twins share with it: the base's width, the longest prefix its losses can read, the steps taken."""

    width: int
    full: int
    steps: int


def train(
    recipe: Recipe | Path | str,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    dry_run: bool = False,
    twins: Sequence[Twin] = (),
    compile: bool = False,
    attention: str | None = None,
) -> TrainedRun:
    """Train `recipe` and give its run: `out`, or runs/<name>-<hash8>/, with the model in `model/`.

    `resume` goes on from the newest checkpoint (from step 0 where there is none, and not at all where the run has
    ended); on a CPU with the same threads, processes and versions the weights come out bit for bit as without the
    break. `dry_run` checks everything, says what would be run, and writes nothing. `twins` are trained after it, beside
    those that the recipe names: "ff", a model for each dim alone, and "plain", one at full width only, in <run>/twins.
    `compile` runs the encoder through torch.compile, and `attention` names transformers' implementation of it (None:
    its own choice); both change the last bits alone.
    Under `accelerate launch` every process calls this. Errors are `MtextError`s, raised before anything is written
    wherever that can be known.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(Path(recipe))
    folder = RunFolder.of(recipe, Path(out) if out is not None else None)
    how = _How(Runtime(compile, attention), resume, dry_run)
    if twins and not recipe.objectives:
        raise RecipeError(
            f"--twin: found {', '.join(twins)}, but the recipe has no objectives, which a twin trains otherwise; "
            "leave it out, or add objectives"
        )
    run, trunk = _trained(recipe, folder, how)
    summaries = [run.summary]
    for name, twin in twins_of(recipe, width=trunk.width, full=trunk.full, steps=trunk.steps, more=twins):
        done, _ = _trained(twin, RunFolder(folder.twins / name, trunk=folder.path), how)
        summaries.append(f"twin {name}\n{done.summary}")
    return replace(run, summary="\n".join(summaries))


@dataclass(frozen=True)
class _How:
    """What the command line says of a run and its twins alike."""

    runtime: Runtime
    resume: bool
    dry_run: bool


def _trained(recipe: Recipe, folder: RunFolder, how: _How) -> tuple[TrainedRun, _Trunk]:
    if not how.dry_run:
        folder.require_mine(recipe, resume=how.resume)
    if folder.finished and how.resume and not how.dry_run:
        done = f"{folder.path}: this run has ended already; its model is in {folder.model}"
        return TrainedRun(folder.path, folder.model, 0, done), _Trunk(*folder.widths(), _steps_of(recipe, folder))
    job = _prepare(recipe, folder, how)
    head, width = job.inputs.trained.vocabulary, job.inputs.encoder.width
    full = width if head is None else min(width, head.width)
    if how.dry_run:
        return TrainedRun(folder.path, folder.model, 0, job.outlook()), _Trunk(width, full, job.inputs.steps)
    job.accelerator.wait_for_everyone()
    return job.run(), _Trunk(width, full, _steps_of(recipe, folder))


def _steps_of(recipe: Recipe, folder: RunFolder) -> int:
    """The steps that an ended run took: fewer than planned where it stopped early, none without objectives."""
    if not recipe.objectives:
        return 0
    checkpoint = latest_checkpoint(folder.checkpoints)
    if checkpoint is None:
        raise RunError(f"{folder.checkpoints}: the run has ended, but has no checkpoint that says after how many steps")
    return checkpoint.step


@dataclass
class _Job:
    """A run, ready to start: all its inputs have been read and found good."""

    recipe: Recipe
    folder: RunFolder
    accelerator: Accelerator
    precision: Literal["float32", "bf16"]
    inputs: Inputs
    runtime: Runtime

    def outlook(self) -> str:
        """What the run would do, in a few lines."""
        inputs, encoder = self.inputs, self.inputs.encoder
        origin = encoder.resolved.origin if encoder.resolved else "?"
        size = sum(p.numel() for p in encoder.parameters())
        products = Processes(self.accelerator, bf16=self.precision == "bf16").products
        chosen = choose_backend(self.accelerator.device, products, len(encoder.dims))
        return "\n".join(
            [
                f"run      {self.folder.path}",
                f"base     {self.recipe.base.model} (from the {origin}), width {encoder.width}, {size:,} parameters",
                f"dims     {', '.join(map(str, encoder.dims))}",
                *(f"head     {line}" for line in inputs.heads()),
                *_listed("data", inputs.outlook()),
                *_listed("rotation", inputs.rotation.outlook() if inputs.rotation is not None else ()),
                f"steps    {inputs.steps:,}",
                f"device   {self.accelerator.device}, {self.accelerator.num_processes} process(es), "
                f"precision {self.precision}",
                f"loss     {chosen.name}: {chosen.reason}",
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
        if not self.recipe.objectives:
            return self._rotate()
        inputs = self.inputs
        processes = Processes(self.accelerator, bf16=self.precision == "bf16")
        recipe = inputs.recipe
        optimizer = build_optimizer(recipe.optimizer, inputs.trained, inputs.trained.from_scratch())
        streams = build_streams(recipe, inputs, processes)
        rate = learning_rates(recipe.optimizer, inputs.steps)
        loop = Loop(recipe, inputs.trained, streams, optimizer, rate, processes)
        run = Run(recipe, self.folder, loop, inputs)
        return TrainedRun(self.folder.path, self.folder.model, inputs.steps, run.to_the_end())

    def _rotate(self) -> TrainedRun:
        """Export the base as it was rotated, which is all there is to do without objectives."""
        rotation, inputs = self.inputs.rotation, self.inputs
        assert rotation is not None
        if self.accelerator.is_main_process:
            export_rotated(self.folder, inputs.trained, inputs.recipe, rotation)
        self.accelerator.wait_for_everyone()
        lines = ["rotated, no objectives", *rotation.summary(), f"model   {self.folder.model}"]
        return TrainedRun(self.folder.path, self.folder.model, 0, "\n".join(lines))

    def _environment(self) -> dict[str, object]:
        resolved = self.inputs.encoder.resolved
        assert resolved is not None
        given = self.inputs.teacher.resolved if self.inputs.teacher is not None else None
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
            heads=self.inputs.head_sizes(),
            runtime=asdict(self.runtime),
        )

    def _require_space(self) -> None:
        """Better now than at the first checkpoint: weights and two moments, the model, and the next checkpoint."""
        size = sum(p.numel() * 4 for p in self.inputs.trained.parameters())
        if not self.recipe.objectives:
            require_space(self.folder.path, size, what="the model")
            return
        each = 3 if self.recipe.averaging is None else 4
        require_space(self.folder.path, (2 * each + 1) * size, what="the run (two checkpoints and the model)")

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


def _listed(what: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines with `what` before the first one."""
    return (f"{'' if place else what:<8} {line}" for place, line in enumerate(lines))


def _prepare(recipe: Recipe, folder: RunFolder, how: _How) -> _Job:
    accelerator = _accelerator(recipe, folder)
    for stream in dict.fromkeys(READS[spec.kind] for spec in recipe.objectives):
        size, key = batch_size(recipe, stream)
        if size % accelerator.num_processes:
            raise RecipeError(
                f"{key} is {size}, which {accelerator.num_processes} processes cannot share evenly; "
                f"allowed: multiples of {accelerator.num_processes}"
            )
    inputs = read_inputs(recipe, folder, accelerator, store=not how.dry_run, runtime=how.runtime)
    precision = _precision(recipe, folder, accelerator)
    how.runtime.require_works(inputs.encoder, bf16=precision == "bf16")
    return _Job(recipe, folder, accelerator, precision, inputs, how.runtime)


def _accelerator(recipe: Recipe, folder: RunFolder) -> Accelerator:
    if "tensorboard" in recipe.trackers:
        optional("tensorboard", extra="quickstart", purpose="the tracker tensorboard")
    # The recipe alone decides the precision: what `accelerate config` says of it must not change the model.
    accelerator = Accelerator(
        mixed_precision="no", log_with=list(recipe.trackers) or None, project_dir=str(folder.path)
    )
    if accelerator.num_processes > 1:
        leave_at_exit()
    return accelerator


def _precision(recipe: Recipe, folder: RunFolder, accelerator: Accelerator) -> Literal["float32", "bf16"]:
    """The run's precision: as stored, as asked, or as measured by the main process for all of them."""
    if folder.environment.exists():
        stored: Literal["float32", "bf16"] = _stored(folder)["precision"]
        return stored
    chosen = [choose_dtype(recipe.precision, accelerator.device)]
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
