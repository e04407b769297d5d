"""One step: what is updated, what is skipped, and that the host does not wait for a GPU."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from matryoshka_text import load_recipe
from matryoshka_text.build.runtime import Runtime
from matryoshka_text.errors import TrainingError
from matryoshka_text.training.batches import batches_from
from matryoshka_text.training.folder import RunFolder
from matryoshka_text.training.inputs import read_inputs
from matryoshka_text.training.loop import LaunchedStep, Loop
from matryoshka_text.training.processes import Processes


class Walk:
    """A recipe's loop and the steps it takes."""

    def __init__(self, path: Path, folder: Path, *, cpu: bool = True) -> None:
        recipe = load_recipe(path)
        accelerator = Accelerator(mixed_precision="no", cpu=cpu)
        # Eager: for the others transformers looks at the padding mask on the host, which waits for a GPU.
        inputs = read_inputs(recipe, RunFolder(folder), accelerator, store=False, runtime=Runtime(attention="eager"))
        processes = Processes(accelerator, bf16=False)
        self.loop = Loop(inputs, processes)
        self.steps = batches_from(inputs.recipe, inputs.plans, 0, inputs.steps)
        self.table = next(p for n, p in inputs.trained.named_parameters() if n.endswith("word_embeddings.weight"))

    def take(self) -> LaunchedStep:
        step, batches = next(self.steps)
        prepared = {name: self.loop.streams[name].prepare(step, list(rows)) for name, rows in batches.items()}
        return self.loop.step(step, prepared)

    def weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.loop.trainable])


@pytest.fixture
def walk(write_recipe: Callable[..., Path], tmp_path: Path) -> Callable[..., Walk]:
    return lambda cpu=True, **changes: Walk(write_recipe(**changes), tmp_path / "run", cpu=cpu)


def test_no_later_step_is_taken_after_a_number_that_is_none(walk: Callable[..., Walk]) -> None:
    run = walk()
    first, good = run.take(), run.weights()
    before = run.table.detach().clone()
    with torch.no_grad():
        run.table.fill_(float("nan"))
    broken = run.take()
    with torch.no_grad():
        run.table.copy_(before)
    # The host has not looked yet; the next step is sound by itself, and is not taken either.
    after = run.take()
    assert torch.equal(run.weights(), good)
    assert all(bool(state["exp_avg"].isfinite().all()) for state in run.loop.optimizer.state.values())
    assert first.record(run.loop.seconds).step == 1
    with pytest.raises(TrainingError, match=r"step 2: the loss is nan; rows of this batch to look at: .*pairs\.jsonl"):
        broken.record(run.loop.seconds)
    assert after.record(run.loop.seconds).loss > 0


def test_a_record_is_of_its_own_step_whenever_it_is_read(walk: Callable[..., Walk]) -> None:
    run, other = walk(), walk()
    at_once = [run.take().record(run.loop.seconds) for _ in range(3)]
    launched = [other.take() for _ in range(3)]
    later = [step.record(other.loop.seconds) for step in launched]
    for one, two in zip(at_once, later, strict=True):
        assert (one.step, one.loss, one.per_dim, one.tokens) == (two.step, two.loss, two.per_dim, two.tokens)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is at hand")
def test_the_host_does_not_wait_for_the_gpu(walk: Callable[..., Walk]) -> None:
    run = walk(cpu=False)
    run.take().record(run.loop.seconds)
    torch.cuda.set_sync_debug_mode("error")
    try:
        launched = run.take()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert launched.record(run.loop.seconds).loss > 0
