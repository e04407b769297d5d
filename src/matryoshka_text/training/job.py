"""`train`: everything is checked first, then the run folder is made, then the loop runs."""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from matryoshka_text.build.runtime import Runtime
from matryoshka_text.checkpoint import latest_checkpoint
from matryoshka_text.data import fingerprint
from matryoshka_text.encoder.dtype import choose_dtype, decide_dtype
from matryoshka_text.errors import RecipeError, RunError
from matryoshka_text.extras import optional
from matryoshka_text.files import require_space
from matryoshka_text.process_group import leave_at_exit
from matryoshka_text.recipe import Recipe, Twin, load_recipe, read_recipe, twins_of
from matryoshka_text.training.batches import batch_size
from matryoshka_text.training.environment import differences, environment, require_same_data, stored_environment
from matryoshka_text.training.folder import RunFolder
from matryoshka_text.training.inputs import Inputs, read_inputs
from matryoshka_text.training.outlook import outlook
from matryoshka_text.training.processes import Processes
from matryoshka_text.training.prompts import prompt_lines
from matryoshka_text.training.rotated import export_rotated
from matryoshka_text.training.run import run_to_the_end

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

    `resume` goes on from the newest checkpoint (from step 0 if there is none, and not at all if the run has ended), and
    a run folder's own recipe.yaml goes on in that folder; on a CPU with the same threads, processes and versions the
    weights come out bit for bit as without the break. `dry_run` checks everything, says what would be run, and writes
    nothing. `twins` are trained after it, next to those that the recipe names: "ff", a model for each dim by itself,
    and "plain", one at full width only, in <run>/twins. `compile` runs the encoder through torch.compile, and
    `attention` names transformers' implementation of it (None: its own choice); both change only the last bits.
    Under `accelerate launch` every process calls this. Errors are `MtextError`s, raised before anything is written
    wherever that can be known.
    """
    home = None if out is None else Path(out)
    how = _How(Runtime(compile, attention), resume, dry_run)
    if isinstance(recipe, Recipe):
        return _with_twins(recipe, RunFolder.of(recipe, home), how, twins)
    reading = read_recipe(Path(recipe))
    if reading.recipe is None:
        raise RecipeError("\n".join(reading.problems))
    if resume and home is None and RunFolder(reading.path.parent).is_of(reading.path):
        home = reading.path.parent
    with reading.placing():
        return _with_twins(reading.recipe, RunFolder.of(reading.recipe, home), how, twins)


def _with_twins(recipe: Recipe, folder: RunFolder, how: "_How", twins: Sequence[Twin]) -> TrainedRun:
    """The run and then its twins, those of the recipe and `twins`."""
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
    accelerator = _accelerator(recipe, folder)
    _require_equal_shares(recipe, accelerator)
    if how.dry_run:
        inputs, processes = _opened(recipe, folder, accelerator, how)
        lines = outlook(inputs, folder, processes, _why(recipe, accelerator))
        return TrainedRun(folder.path, folder.model, 0, lines), _trunk(inputs)
    # Of several processes the main one holds the folder for all. Only then is there a look at what is in it.
    with folder.held() if accelerator.is_main_process else contextlib.nullcontext():
        accelerator.wait_for_everyone()
        recipe = folder.require_mine(recipe, resume=how.resume)
        if folder.finished:
            done = f"{folder.path}: this run has ended already; its model is in {folder.model}"
            return TrainedRun(folder.path, folder.model, 0, done), _Trunk(*folder.widths(), _steps_of(recipe, folder))
        inputs, processes = _opened(recipe, folder, accelerator, how)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            for line in prompt_lines(inputs.recipe):
                log.info("prompts of %s", line)
            _require_room(folder, inputs)
            why = _why(recipe, accelerator)
            _start(folder, inputs, _environment(inputs, accelerator, how.runtime, why))
        accelerator.wait_for_everyone()
        summary = (
            run_to_the_end(inputs, folder, processes) if recipe.objectives else _rotate(inputs, folder, accelerator)
        )
    trunk = replace(_trunk(inputs), steps=_steps_of(recipe, folder))
    return TrainedRun(folder.path, folder.model, inputs.steps, summary), trunk


def _opened(recipe: Recipe, folder: RunFolder, accelerator: Accelerator, how: _How) -> tuple[Inputs, Processes]:
    """The inputs in the precision of this run, and the processes; an attention that cannot train is a `RecipeError`."""
    recipe = recipe.model_copy(update={"precision": _precision(recipe, folder, accelerator)})
    inputs = read_inputs(recipe, folder, accelerator, store=not how.dry_run, runtime=how.runtime)
    how.runtime.require_works(inputs.encoder, bf16=recipe.precision == "bf16")
    return inputs, Processes(accelerator, bf16=recipe.precision == "bf16")


def _trunk(inputs: Inputs) -> _Trunk:
    head, width = inputs.trained.vocabulary, inputs.encoder.width
    return _Trunk(width, width if head is None else min(width, head.width), inputs.steps)


def _steps_of(recipe: Recipe, folder: RunFolder) -> int:
    """The steps that an ended run took: fewer than planned where it stopped early, none without objectives."""
    if not recipe.objectives:
        return 0
    checkpoint = latest_checkpoint(folder.checkpoints)
    if checkpoint is None:
        raise RunError(f"{folder.checkpoints}: the run has ended, but has no checkpoint that says after how many steps")
    return checkpoint.progress.step


def _require_equal_shares(recipe: Recipe, accelerator: Accelerator) -> None:
    """`RecipeError` for a global batch that the processes cannot share evenly."""
    for stream in dict.fromkeys(spec.reads for spec in recipe.objectives):
        size, key = batch_size(recipe, stream)
        if size % accelerator.num_processes:
            raise RecipeError(
                f"{key} is {size}, which {accelerator.num_processes} processes cannot share evenly; "
                f"allowed: multiples of {accelerator.num_processes}"
            )


def _require_room(folder: RunFolder, inputs: Inputs) -> None:
    """`RunError` if the disk has no room: better now than at the first checkpoint."""
    # Weights and two moments, the model, and the next checkpoint.
    size = sum(p.numel() * 4 for p in inputs.trained.parameters())
    if inputs.recipe.objectives:
        each = 3 if inputs.recipe.averaging is None else 4
        require_space(folder.path, (2 * each + 1) * size, what="the run (two checkpoints and the model)")
    else:
        require_space(folder.path, size, what="the model")


def _rotate(inputs: Inputs, folder: RunFolder, accelerator: Accelerator) -> str:
    """Export the base as it was rotated, which is all there is to do without objectives."""
    rotation = inputs.rotation
    assert rotation is not None
    if accelerator.is_main_process:
        export_rotated(folder, inputs.trained, inputs.recipe, rotation)
    accelerator.wait_for_everyone()
    return "\n".join(["rotated, no objectives", *rotation.summary(), f"model   {folder.model}"])


def _environment(inputs: Inputs, accelerator: Accelerator, runtime: Runtime, why: str) -> dict[str, object]:
    resolved = inputs.encoder.resolved
    assert resolved is not None
    given = inputs.teacher.resolved if inputs.teacher is not None else None
    return environment(
        device=accelerator.device,
        processes=accelerator.num_processes,
        precision=inputs.recipe.precision,
        precision_reason=why,
        data=fingerprint(inputs.recipe),
        model={
            "name": resolved.name,
            "origin": resolved.origin,
            "base": resolved.weights(),
            "teacher": given.weights() if given is not None else None,
        },
        heads=inputs.head_sizes(),
        runtime=asdict(runtime),
    )


def _start(folder: RunFolder, inputs: Inputs, now: dict[str, object]) -> None:
    """Make the run's folder, or compare what the run began with."""
    folder.sweep()
    if not (folder.environment.exists() and folder.recipe.exists()):
        folder.start(inputs.recipe, now)
        return
    stored = stored_environment(folder.environment).model_dump()
    require_same_data(stored, now, folder.path)
    _require_same_prompts(load_recipe(folder.recipe), inputs.recipe, folder)
    if changed := differences(stored, now):
        log.warning("%s: resumed elsewhere, so the last bits may differ: %s", folder.path, "; ".join(changed))


def _require_same_prompts(begun: Recipe, recipe: Recipe, folder: RunFolder) -> None:
    """`RunError` if the run began, in an earlier version, without the prompts that its base has."""
    if not begun.base.prompts and (lines := list(prompt_lines(recipe))):
        raise RunError(
            f"{folder.path}: began in a version that trained without the base's prompts ({lines[0]}); "
            "start again with another --out"
        )


def _accelerator(recipe: Recipe, folder: RunFolder) -> Accelerator:
    if "tensorboard" in recipe.trackers:
        optional("tensorboard", extra="quickstart", purpose="the tracker tensorboard")
    # Only the recipe decides the precision: what `accelerate config` says of it must not change the model.
    accelerator = Accelerator(
        mixed_precision="no", log_with=list(recipe.trackers) or None, project_dir=str(folder.path)
    )
    if accelerator.num_processes > 1:
        leave_at_exit()
    return accelerator


def _precision(recipe: Recipe, folder: RunFolder, accelerator: Accelerator) -> Literal["float32", "bf16"]:
    """The run's precision: as stored, as asked, or as the main process's hardware decides it for all."""
    if folder.environment.exists():
        return stored_environment(folder.environment).precision
    chosen = [choose_dtype(recipe.precision, accelerator.device)]
    broadcast_object_list(chosen)
    return chosen[0]


def _why(recipe: Recipe, accelerator: Accelerator) -> str:
    """Why a run that begins now has its precision."""
    return decide_dtype(recipe.precision, accelerator.device).reason
