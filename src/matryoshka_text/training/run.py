"""From the first step, or the last checkpoint, to the model."""

import shutil
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from tqdm import tqdm

from matryoshka_text.checkpoint import (
    Checkpoint,
    Progress,
    latest_checkpoint,
    load_weights,
    prune,
    read_average,
    read_checkpoint,
    save_checkpoint,
    save_weights,
)
from matryoshka_text.encoder.lora import save_adapter
from matryoshka_text.errors import RunError, TrainingError
from matryoshka_text.metrics import MetricsFile
from matryoshka_text.training.averaging import RunningAverage
from matryoshka_text.training.batches import batches_from
from matryoshka_text.training.export import export
from matryoshka_text.training.folder import RunFolder
from matryoshka_text.training.held_out import HeldOutScores, held_out_scores
from matryoshka_text.training.inputs import Inputs
from matryoshka_text.training.loop import LaunchedStep, Loop, StepRecord
from matryoshka_text.training.prefetch import Prefetch
from matryoshka_text.training.processes import Processes
from matryoshka_text.training.streams import advice

__all__ = ["Run", "run_to_the_end"]


def run_to_the_end(inputs: Inputs, folder: RunFolder, processes: Processes) -> str:
    """Train from where the folder stands, export the model, and say in a few lines what came out."""
    start = time.perf_counter()
    run = Run(folder, Loop(inputs, processes), inputs)
    run.go_back()
    try:
        run.go_on()
    finally:
        run.close()
    run.export()
    # Whoever looks at the folder next, in whichever process, finds the run ended.
    processes.accelerator.wait_for_everyone()
    return run.summary(time.perf_counter() - start)


class Run:
    """A run in its folder: steps, evaluations, checkpoints, and the export at the end."""

    def __init__(self, folder: RunFolder, loop: Loop, inputs: Inputs) -> None:
        """Everything is built; nothing has been trained."""
        self.recipe, self.folder, self.loop, self.inputs = inputs.recipe, folder, loop, inputs
        self.steps, self.accelerator = inputs.steps, loop.processes.accelerator
        self.dims = self.recipe.lengths
        self.progress = Progress()
        self.average = RunningAverage(self.recipe.averaging, loop.trained, self.steps)
        self._main = self.accelerator.is_main_process
        self._metrics: MetricsFile | None = None

    def close(self) -> None:
        """Close the records of the steps."""
        if self._metrics is not None:
            self._metrics.close()
        # Not end_training: that would take the process group from the twins that are trained next.
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def go_back(self) -> None:
        """To the newest checkpoint, metrics.jsonl with it; to step 0 if there is none."""
        checkpoint = latest_checkpoint(self.folder.checkpoints)
        if checkpoint is not None:
            read_checkpoint(checkpoint, self.loop.trained, self.loop.optimizer)
            self.progress = self._checked(checkpoint)
            if self.progress.averaged:
                self.average.restore(read_average(checkpoint, self.loop.trained), self.progress.averaged)
        if self._main:
            # Weights that were the best after this checkpoint are trained again.
            for later in (p for p in self.folder.best.glob("step-*") if p.name > self._best(self.progress.step).name):
                shutil.rmtree(later)
            self._metrics = MetricsFile(self.folder.metrics, keep=self.progress.metrics_bytes)
            if checkpoint is None and self.inputs.rotation is not None:
                # A checkpoint's bytes have them already.
                self._metrics.write_all(self.inputs.rotation.lines)
        if self.recipe.trackers:
            # Tensorboard drops what a killed run logged after its checkpoint.
            self.accelerator.init_trackers(
                "tensorboard", init_kwargs={"tensorboard": {"purge_step": self.progress.step + 1}}
            )

    def _checked(self, checkpoint: Checkpoint) -> Progress:
        """What the checkpoint says of this run; `RunError` if this run could not have written that."""
        found, stopping = checkpoint.progress, self.recipe.stopping
        patience = stopping.patience if stopping is not None else None
        right = {
            "step": found.step <= self.steps,
            "metrics_bytes": found.metrics_bytes > 0,
            "best_step": (found.best_step or 0) <= found.step,
            "best_score": (found.best_score is None) == (found.best_step is None),
            "without_better": found.without_better <= found.step,
            "stopped": found.stopped == (patience is not None and found.without_better >= patience),
            "averaged": found.averaged == self.average.count_after(found.step),
        }
        if wrong := [f"{key} {getattr(found, key)}" for key, is_right in right.items() if not is_right]:
            raise RunError(
                f"{checkpoint.path / 'state.json'}: found {', '.join(wrong)}, which this run of {self.steps} steps "
                f"does not come to; remove the folder {checkpoint.path} and resume again, from the checkpoint before it"
            )
        return found

    def go_on(self) -> None:
        """Take the steps that are left, evaluating and writing checkpoints as the recipe says."""
        if self.progress.step == 0:
            self._evaluate(0)
        # A run that had stopped early, and was cut off before its model was written, takes no step more.
        if self.progress.stopped:
            return
        batches = batches_from(self.recipe, self.inputs.plans, self.progress.step, self.steps)
        launched: deque[LaunchedStep] = deque()
        # A step's numbers are read once the next one has been launched, so that a GPU never waits for the host.
        behind = 1 if self.loop.processes.device.type == "cuda" else 0
        with self._bar() as bar, Prefetch(batches, self.loop.streams) as work:
            self.loop.start_clock()
            for step, prepared in work:
                launched.append(self.loop.step(step, prepared))
                self.average.update(step + 1)
                due = self._due(step + 1)
                while len(launched) > (0 if due else behind):
                    self._log(launched.popleft().record(self.loop.seconds), bar)
                self.progress.step = step + 1
                if due:
                    self._after(step + 1)
                    self.loop.start_clock()
                if self.progress.stopped:
                    break

    def _bar(self) -> "tqdm[Any]":
        return tqdm(
            total=self.steps,
            initial=self.progress.step,
            desc=self.recipe.name,
            unit="step",
            disable=not self._main,
            # In a log file a line now and then is enough.
            mininterval=0.5 if sys.stderr.isatty() else 15,
        )

    def _evaluation_due(self, done: int) -> bool:
        section = self.recipe.evaluation
        return section is not None and (done % section.every == 0 or done == self.steps)

    def _due(self, done: int) -> bool:
        """Whether something is looked at or written after `done` steps, for which their numbers have to be known."""
        return self._evaluation_due(done) or done % self.recipe.checkpoints.every == 0 or done == self.steps

    def _after(self, done: int) -> None:
        if self._evaluation_due(done):
            self._evaluate(done)
        if done % self.recipe.checkpoints.every == 0 or done == self.steps or self.progress.stopped:
            self._checkpoint()

    def _log(self, record: StepRecord, bar: "tqdm[Any]") -> None:
        if self._metrics is None:
            return
        self._metrics.write(record.line())
        row = next(iter(record.per_dim.values()))
        first, last = min(row), max(row)
        shown = f"loss at {first} dims {row[first]:.4f}" + (f", at {last} {row[last]:.4f}" if last > first else "")
        bar.set_postfix_str(shown, refresh=False)
        bar.update()
        if self.recipe.trackers:
            values = {"loss": record.loss, "learning_rate": record.learning_rate, "gradient_norm": record.gradient_norm}
            for kind, table in (("", record.per_dim), ("weights/", record.weights)):
                values |= {f"{kind}{name}/{dim}": value for name, row in table.items() for dim, value in row.items()}
            self.accelerator.log(values, step=record.step)

    def _evaluate(self, done: int) -> None:
        """Score the held-out sets; keep the weights where the rule says they are the best so far."""
        section = self.recipe.evaluation
        if section is None:
            return
        if self._main:
            self._require_finite()
            masking = self.recipe.objective("mlm")
            # What is scored is what would be exported.
            with self.average.in_place():
                scores = held_out_scores(self.loop.trained, self.inputs.held_out, self.dims, masking)
                score = scores.selected(section.select)
                self._note_scores(done, scores, score)
                # The untouched model (step 0) is scored for comparison; it is never the result of a training run.
                if done > 0:
                    self._compare(done, score)
        shared = [self.progress]
        broadcast_object_list(shared)
        self.progress = shared[0]

    def _note_scores(self, done: int, scores: HeldOutScores, score: float) -> None:
        assert self._metrics is not None
        dims = self.dims
        table = {name: dict(zip(map(str, dims), row, strict=True)) for name, row in scores.per_set.items()}
        self._metrics.write({"step": done, "evaluation": table, "score": score})
        row = "  ".join(f"{dim}: {value:.2f}" for dim, value in zip(dims, scores.mean, strict=True))
        tqdm.write(f"step {done}: held out {score:.2f} ({row})", file=sys.stderr)
        if self.recipe.trackers:
            self.accelerator.log(
                {f"held_out/{n}/{d}": v for n, per_dim in table.items() for d, v in per_dim.items()}, step=done
            )

    def _compare(self, done: int, score: float) -> None:
        progress = self.progress
        if progress.best_score is None or score > progress.best_score:
            progress.best_score, progress.best_step, progress.without_better = score, done, 0
            save_weights(self._best(done), self.loop.trained, {"step": done, "score": score})
            return
        progress.without_better += 1
        patience = self.recipe.stopping.patience if self.recipe.stopping is not None else None
        progress.stopped = patience is not None and progress.without_better >= patience

    def _checkpoint(self) -> None:
        if self._metrics is not None:
            self._require_finite()
            self.progress.metrics_bytes = self._metrics.sync()
            self.progress.averaged = self.average.count
            save_checkpoint(
                self.folder.checkpoints,
                self.loop.trained,
                self.loop.optimizer,
                self.progress,
                average=self.average.tensors,
            )
            prune(self.folder.checkpoints, self.recipe.checkpoints.keep)
            # Only now: until this checkpoint was whole, a resume would have gone back to the best one before.
            prune(self.folder.best, 1)
        self.accelerator.wait_for_everyone()

    def _require_finite(self) -> None:
        """A checkpoint with a NaN in it would be no last good one, and a NaN has no score."""
        if not all(bool(torch.isfinite(p).all()) for p in self.loop.trainable):
            raise TrainingError(
                f"step {self.progress.step}: a weight is no finite number; checkpoints written before are kept; "
                f"{advice(self.recipe)}"
            )

    def _best(self, step: int) -> Path:
        return self.folder.best / f"step-{step:08d}"

    def export(self) -> None:
        """Write the model: the best weights, the average, or the last ones."""
        if not self._main:
            return
        if self.progress.best_step is not None:
            load_weights(self._best(self.progress.best_step) / "weights.safetensors", self.loop.trained)
            self._write_model()
            return
        with self.average.in_place():
            self._write_model()

    def _write_model(self) -> None:
        encoder, lora = self.loop.trained.encoder, self.recipe.lora
        if lora is not None and lora.keep_adapter and not self.folder.adapter.exists():
            save_adapter(encoder, self.folder.adapter, self.recipe.base.model)
        export(self.loop.trained, self.recipe, self.folder.model)

    def summary(self, seconds: float) -> str:
        """What came out, in a few lines."""
        progress = self.progress
        lines = [f"trained {progress.step} steps in {seconds:.0f} s"]
        if progress.stopped:
            lines.append(f"stopped early: {progress.without_better} evaluations without a better score")
        if progress.best_step is not None and self.recipe.evaluation is not None:
            rule = {"mean": "mean over dims", "smallest": "smallest dim", "full": "full width"}
            lines.append(
                f"kept the weights of step {progress.best_step}: held-out score {progress.best_score:.2f} "
                f"({rule[self.recipe.evaluation.select]})"
            )
        if self.average.count and progress.best_step is None:
            lines.append(f"averaged the weights of {self.average.count} steps, from step {self.average.first} on")
        if self.inputs.rotation is not None:
            lines += self.inputs.rotation.summary()
        lines += [f"head    {line}" for line in self.inputs.heads()]
        return "\n".join([*lines, f"model   {self.folder.model}"])
