"""Gradient caching for every objective on embeddings: the gradients of all that is trained, as a run adds them up.

The oracle is one plain forward pass of all texts, the objectives on its vectors, and autograd straight back from them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor, nn

from matryoshka_text import load_recipe
from matryoshka_text.build.runtime import Runtime
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.layers import depth_of, vectors_by_layer
from matryoshka_text.objectives.batch import GlobalBatch
from matryoshka_text.objectives.distill import distilled
from matryoshka_text.recipe import Recipe
from matryoshka_text.training.folder import RunFolder
from matryoshka_text.training.inputs import Inputs, read_inputs
from matryoshka_text.training.nesting import LayerPlan, Nestings
from matryoshka_text.training.processes import Processes
from matryoshka_text.training.setup import build_streams

INFO_NCE = {"kind": "info_nce"}
CASES: dict[str, dict[str, Any]] = {
    "info_nce": {"data": ["pairs"], "objectives": [INFO_NCE]},
    "hard_negatives": {"data": ["triplets"], "objectives": [INFO_NCE]},
    "distill_model": {"data": ["triplets"], "objectives": [{"kind": "distill"}]},
    "distill_vectors": {"data": ["taught"], "objectives": [{"kind": "distill", "vectors": True}]},
    "self_distill": {"data": ["pairs"], "objectives": [INFO_NCE, {"kind": "self_distill", "pair_weight": 1.0}]},
    "classify_mrl": {"data": ["labelled"], "objectives": [{"kind": "classify", "head": "mrl"}]},
    "classify_mrl_e": {"data": ["labelled"], "objectives": [{"kind": "classify", "head": "mrl_e"}]},
    "cosent": {"data": ["scored"], "objectives": [{"kind": "cosent"}]},
    "score_distill": {"data": ["scored"], "objectives": [{"kind": "score_distill", "range": [0, 5]}]},
    "layer_pairs": {
        "data": ["pairs"],
        "objectives": [INFO_NCE, {"kind": "distill"}],
        "dims": [8, 32],
        "layers": {"kind": "pairs", "pairs": [[1, 8], [2, 32]]},
    },
    "drawn_layer": {
        "data": ["pairs", "labelled", "scored"],
        "objectives": [INFO_NCE, {"kind": "self_distill"}, {"kind": "classify"}, {"kind": "cosent"}],
        "weights": "learned",
        "dims_per_step": "one_and_full",
        "layers": {"kind": "random", "weight": 0.5, "kl_weight": 2.0},
    },
}
Gradients = dict[str, Tensor]
Read = Callable[..., "Trial"]


@dataclass
class Trial:
    """A recipe's data and model, from which each call takes the first step's gradients."""

    recipe: Recipe
    inputs: Inputs
    accelerator: Accelerator

    def through_streams(self, *, precision: str = "float32", **batch: Any) -> tuple[float, Gradients]:
        """Loss and gradients as training adds them up, with `batch` in the recipe."""
        batch = {"tokens": None, **batch} if "chunk" in batch else batch
        changed = self.recipe.model_copy(update={"batch": self.recipe.batch.model_copy(update=batch)})
        streams = build_streams(
            replace(self.inputs, recipe=changed), Processes(self.accelerator, bf16=precision == "bf16")
        )
        self.inputs.trained.zero_grad()
        torch.rand(3)  # what was drawn before must not matter
        parts = [
            streams[name].contribute(0, streams[name].prepare(0, rows))
            for name, rows in self.batches(changed.batch.accumulate).items()
        ]
        return sum(float(part.loss) for part in parts), self._gradients()

    def plainly(self, accumulate: int = 1) -> tuple[float, Gradients]:
        """The same in one graph from the texts to the losses."""
        self.inputs.trained.zero_grad()
        batches = self.batches(accumulate)
        total = torch.stack([self._plain_loss(name, one) for name, rows in batches.items() for one in rows]).sum()
        (total / accumulate).backward()
        return float(total.detach()) / accumulate, self._gradients()

    def batches(self, count: int) -> dict[str, list[list[int]]]:
        return {name: plan.first.batches[:count].tolist() for name, plan in self.inputs.plans.items()}

    def drop(self, share: float) -> None:
        """Every dropout, LoRA's among them, drops `share`."""
        found = [module for module in self.inputs.trained.modules() if isinstance(module, nn.Dropout)]
        assert len(found) > 6
        for module in found:
            module.p = share

    def _gradients(self) -> Gradients:
        named = self.inputs.trained.named_parameters()
        return {name: p.grad.clone() for name, p in named if p.requires_grad and p.grad is not None}

    def _plain_loss(self, name: str, rows: list[int]) -> Tensor:
        recipe, inputs, examples = self.recipe, self.inputs, self.inputs.streams[name]
        plan = LayerPlan(recipe.layers if name != "labelled" else None, depth_of(inputs.encoder), recipe.seed)
        texts = [column[row] for column in examples.columns for row in rows]
        layers, columns = plan.at(0), len(examples.columns)
        student = _embedded(inputs.encoder, texts, recipe.batch.max_length, layers).unflatten(1, (columns, len(rows)))
        taught = None
        if examples.vectors is not None:
            taught = torch.from_numpy(np.stack([column[rows] for column in examples.vectors]))
        elif inputs.teacher is not None:
            taught = _embedded(inputs.teacher, texts, recipe.batch.max_length, (2,))[0].unflatten(0, (columns, -1))
        values = None if examples.values is None else torch.from_numpy(examples.values[rows])
        total, nestings = torch.zeros(()), Nestings(recipe, inputs.trained.learned)
        for layer, vectors in zip(layers, student, strict=True):
            batch = GlobalBatch(vectors, taught, 0, len(rows), values, head=inputs.trained.classes)
            for objective in (one for one in recipe.objectives if one.reads == name):
                if layer == layers[-1] or objective.kind != "self_distill":
                    nesting, added = nestings.at(0, objective.kind, torch.device("cpu"), plan.lengths(layer))
                    factor = plan.factor(layer, len(layers)) * objective.weight
                    total = total + factor * (objective.loss(batch, nesting).total + added)
            if layer != layers[-1]:
                nesting = nestings.unweighted(0, torch.device("cpu"), plan.lengths(layer))
                loss = distilled(batch, student[-1].detach(), nesting, temperature=0.05, pair_weight=0.0)
                total = total + plan.kl_weight / (len(layers) - 1) * loss.total
        return total


def _embedded(encoder: MatryoshkaEncoder, texts: list[str], most: int, layers: tuple[int, ...]) -> Tensor:
    features = encoder.tokenizer(texts, truncation=True, max_length=most, padding=True, return_tensors="pt")
    return vectors_by_layer(encoder, dict(features), layers)


@pytest.fixture
def read(
    write_recipe: Callable[..., Path],
    stream_files: dict[str, dict[str, Any]],
    tiny_model: Path,
    tmp_path: Path,
) -> Read:
    """read("cosent", lora=True): the inputs of a case, read as a run reads them, in training mode."""

    def make(case: str, *, lora: bool) -> Trial:
        changes = dict(CASES[case])
        changes["data"] = [_source(name, stream_files, tiny_model, tmp_path) for name in changes["data"]]
        changes |= {"lora": {"rank": 3, "dropout": 0.3}} if lora else {}
        path = write_recipe(**changes, batch={"size": 12, "max_length": 24})
        accelerator = Accelerator(mixed_precision="no", cpu=True)
        folder = RunFolder(tmp_path / "run")
        inputs = read_inputs(load_recipe(path), folder, accelerator, store=False, runtime=Runtime())
        inputs.trained.train()
        if lora:
            _stir(inputs.trained)
        return Trial(inputs.recipe, inputs, accelerator)

    return make


def _source(name: str, files: dict[str, dict[str, Any]], model: Path, folder: Path) -> dict[str, Any]:
    if name in files:
        return files[name]
    triplets = {**files["pairs"], "kind": "triplets", "columns": {"negatives": ["negative"]}}
    if name == "triplets":
        return triplets
    rows = Path(files["pairs"]["file"]).read_text().splitlines()
    # Another width than the student's: what taught it was another model.
    drawn = torch.Generator().manual_seed(3)
    stored = {key: torch.randn(len(rows), 20, generator=drawn) for key in ("anchor", "positive")}
    save_file(stored, folder / "taught.safetensors")
    return files["pairs"] | {"vectors": str(folder / "taught.safetensors")}


def _stir(trained: nn.Module) -> None:
    """LoRA's second matrices start at 0, where the first ones have no gradient."""
    drawn = torch.Generator().manual_seed(5)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.05, generator=drawn)


def _off(first: Gradients, second: Gradients) -> tuple[float, float]:
    """The difference of all gradients together, and the largest of one parameter's, as shares of their sizes.

    A parameter's gradient below a hundredth of the whole counts as a hundredth: what its chunks add cancels.
    """
    assert first.keys() == second.keys() and first
    apart = torch.stack([(first[name] - second[name]).norm() for name in second])
    sizes = torch.stack([value.norm() for value in second.values()])
    return float(apart.norm() / sizes.norm()), float((apart / sizes.clamp(min=sizes.norm() / 100)).max())


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("case", CASES)
class TestGradientCaching:
    def test_without_dropout_it_equals_one_big_pass(self, read: Read, case: str, lora: bool) -> None:
        trial = read(case, lora=lora)
        trial.drop(0.0)
        expected_loss, expected = trial.plainly()
        for batch in (
            {"chunk": None, "gradient_caching": False},
            {"chunk": 5, "gradient_caching": True},
            {"tokens": 50, "gradient_caching": True},
        ):
            loss, found = trial.through_streams(**batch)
            whole, worst = _off(found, expected)
            assert loss == pytest.approx(expected_loss, rel=4e-6)
            assert whole <= 4e-6 and worst <= 2e-5, batch

    def test_in_bf16_without_dropout_it_is_as_good_as_one_big_pass(self, read: Read, case: str, lora: bool) -> None:
        """Chunks round otherwise than one pass does, biases above all, whose sum over the chunks cancels."""
        trial = read(case, lora=lora)
        trial.drop(0.0)
        expected_loss, expected = trial.plainly()
        _, one_pass = trial.through_streams(chunk=None, gradient_caching=False, precision="bf16")
        loss, cached = trial.through_streams(chunk=5, gradient_caching=True, precision="bf16")
        off = _off(one_pass, expected)[0]
        assert off > 1e-4  # it did run in bf16
        assert loss == pytest.approx(expected_loss, rel=2e-2)
        assert _off(cached, expected)[0] <= 4 * off

    @pytest.mark.parametrize("precision", ["float32", "bf16"])
    def test_with_dropout_it_equals_the_chunks_kept_in_one_graph(
        self, read: Read, case: str, lora: bool, precision: str
    ) -> None:
        trial = read(case, lora=lora)
        trial.drop(0.3)
        kept_loss, kept = trial.through_streams(chunk=5, gradient_caching=False, precision=precision)
        cached_loss, cached = trial.through_streams(chunk=5, gradient_caching=True, precision=precision)
        assert cached_loss == kept_loss
        assert cached.keys() == kept.keys()
        assert all(torch.equal(cached[name], kept[name]) for name in kept)
        trial.drop(0.0)
        assert trial.through_streams(chunk=5, gradient_caching=True, precision=precision)[0] != kept_loss


@pytest.mark.parametrize("case", ["hard_negatives", "drawn_layer"])
def test_accumulated_batches_are_averaged_each_with_its_own_negatives(read: Read, case: str) -> None:
    trial = read(case, lora=False)
    trial.drop(0.0)
    expected_loss, expected = trial.plainly(accumulate=3)
    loss, found = trial.through_streams(chunk=5, gradient_caching=True, accumulate=3)
    assert loss == pytest.approx(expected_loss, rel=4e-6)
    whole, worst = _off(found, expected)
    assert whole <= 4e-6 and worst <= 2e-5

    trial.drop(0.3)
    kept, cached = (trial.through_streams(chunk=5, gradient_caching=c, accumulate=3) for c in (False, True))
    assert kept[0] == cached[0]
    assert all(torch.equal(cached[1][name], kept[1][name]) for name in kept[1])


def test_accumulated_batches_draw_differently(read: Read) -> None:
    """The same rows twice in one step: with one dropout for both, the mean would be either's own."""
    trial = read("info_nce", lora=False)
    trial.drop(0.3)
    rows = trial.batches(1)["pairs"][0]
    trial.batches = lambda count: {"pairs": [rows] * count}  # type: ignore[method-assign]
    batch = {"chunk": 5, "gradient_caching": True}
    once, twice = (trial.through_streams(**batch, accumulate=count)[0] for count in (1, 2))
    assert once != pytest.approx(twice, rel=1e-6)
