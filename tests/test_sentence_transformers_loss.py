"""The drop-in against MatryoshkaLoss(MultipleNegativesRankingLoss): value, gradients, a real trainer, two processes."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import Tensor, nn

from matryoshka_text.sentence_transformers_loss import NestedMultipleNegatives

DIMS = (4, 8, 32)
COLUMNS = {
    "anchor": ["the cat sleeping", "a card payment", "playing guitar", "money in the bank", "red street", "my dog"],
    "positive": ["a sleeping animal", "payment by card", "a guitar", "the bank account", "the street is red", "dog"],
    "negative": ["the house", "an answer", "blue", "a woman in the street", "home", "the old mother of the dog"],
    "another": ["school", "come and go", "light of the day", "play", "why", "what is the number of the card"],
}


@pytest.fixture(params=["ends in Normalize", "does not"])
def model(request: pytest.FixtureRequest, tiny_model: Path) -> SentenceTransformer:
    """In training, with dropout: both losses have to embed the texts in the same forward passes."""
    opened = SentenceTransformer(str(tiny_model), device="cpu")
    assert isinstance(opened[-1], Normalize)
    if request.param == "does not":
        opened = SentenceTransformer(modules=list(opened)[:-1], device="cpu")
    return opened.train()


def _features(model: SentenceTransformer, columns: int) -> list[dict[str, Tensor]]:
    return [model.tokenize(texts) for texts in list(COLUMNS.values())[:columns]]


def _gradients(loss: nn.Module, model: SentenceTransformer, columns: int) -> tuple[float, dict[str, Tensor | None]]:
    model.zero_grad()
    torch.manual_seed(5)
    value = loss(_features(model, columns), torch.zeros(6))
    value.backward()
    found = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    assert any(gradient is not None and gradient.abs().max() > 1e-4 for gradient in found.values())
    return float(value.detach()), found


@pytest.mark.parametrize("columns", [2, 3, 4], ids=["pairs", "one negative", "two negatives"])
@pytest.mark.parametrize(
    ("dims", "weights"), [(DIMS, None), ((32, 8, 4), (0.25, 2.0, 1.0)), ((8,), (3.0,))], ids=["plain", "down", "one"]
)
@pytest.mark.parametrize("scale", [20.0, 5.0])
def test_value_and_gradients_are_those_of_the_loop(
    model: SentenceTransformer, columns: int, dims: Sequence[int], weights: Sequence[float] | None, scale: float
) -> None:
    ours = NestedMultipleNegatives(model, dims, weights, scale)
    theirs = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model, scale=scale), list(dims), weights)
    model.double()
    value, gradients = _gradients(ours, model, columns)
    expected, wanted = _gradients(theirs, model, columns)
    assert value == pytest.approx(expected, rel=1e-10)
    assert list(gradients) == list(wanted)
    for name, gradient in gradients.items():
        if gradient is None or wanted[name] is None:
            assert wanted[name] is gradient is None, name
        else:
            torch.testing.assert_close(gradient, wanted[name], rtol=1e-7, atol=1e-10)


def test_the_losses_of_each_dim_can_be_read(model: SentenceTransformer) -> None:
    loss = NestedMultipleNegatives(model.eval(), (32, 4), weights=(0.5, 2.0))
    assert loss.per_dim is None
    total = loss(_features(model, 3), None)
    assert (loss.dims, loss.weights) == ((4, 32), (2.0, 0.5))
    assert loss.per_dim is not None and not loss.per_dim.requires_grad
    for dim, value in zip(loss.dims, loss.per_dim.tolist(), strict=True):
        one = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model), [dim])
        assert value == pytest.approx(float(one(_features(model, 3), None).detach()), rel=1e-5)
    assert float(total.detach()) == pytest.approx(2 * float(loss.per_dim[0]) + 0.5 * float(loss.per_dim[1]), rel=1e-6)


def _trained(tiny_model: Path, to: Path, nested: bool) -> tuple[list[dict[str, Any]], SentenceTransformer]:
    model = SentenceTransformer(str(tiny_model), device="cpu")
    if nested:
        loss: nn.Module = NestedMultipleNegatives(model, DIMS, (1.0, 1.0, 2.0))
    else:
        loss = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model), list(DIMS), (1.0, 1.0, 2.0))
    settings = SentenceTransformerTrainingArguments(
        output_dir=str(to),
        max_steps=3,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=3,
        save_strategy="no",
        seed=3,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    data = Dataset.from_dict({name: COLUMNS[name] for name in ("anchor", "positive", "negative")})
    trainer = SentenceTransformerTrainer(model=model, args=settings, train_dataset=data, eval_dataset=data, loss=loss)
    trainer.train()
    model.save(str(to / "model"))
    return trainer.state.log_history, model


def test_a_trainer_goes_the_same_way_with_either(tiny_model: Path, tmp_path: Path) -> None:
    ours, our_model = _trained(tiny_model, tmp_path / "ours", nested=True)
    theirs, their_model = _trained(tiny_model, tmp_path / "theirs", nested=False)
    assert [set(line) for line in ours] == [set(line) for line in theirs]
    keys = ("loss", "eval_loss", "train_loss", "grad_norm")
    values = [[line[key] for line in log for key in keys if key in line] for log in (ours, theirs)]
    assert sum("loss" in line for line in ours) == 3
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    assert values[0][0] != values[0][2]
    vectors = [m.encode(COLUMNS["anchor"], convert_to_tensor=True) for m in (our_model, their_model)]
    torch.testing.assert_close(*vectors, rtol=0, atol=1e-4)
    assert "NestedMultipleNegatives" in (tmp_path / "ours" / "model" / "README.md").read_text()


def test_the_settings_are_for_the_model_card(model: SentenceTransformer) -> None:
    loss = NestedMultipleNegatives(model, (8, 4), (1, 2), scale=30)
    expected = {"dims": (4, 8), "weights": (2.0, 1.0), "scale": 30, "gather_across_devices": False}
    assert loss.get_config_dict() == expected
    json.dumps(loss.get_config_dict())
    assert "kusupati2024matryoshka" in loss.citation
    assert "Contrastive Predictive Coding" in loss.citation
    assert isinstance(copy.copy(loss), nn.Module)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": ()}, r"dims is empty"),
        ({"dims": (4, 33)}, r"dims\[1\] is 33 in dims \(4, 33\); allowed are integers from 1 to 32"),
        ({"dims": (8, 4, 8)}, r"dims\[2\] is 8 in dims \(4, 8, 8\)"),
        ({"dims": (0, 4)}, r"dims\[0\] is 0"),
        ({"dims": (4.0, 8)}, r"dims\[0\] is 4\.0, no integer"),
        ({"dims": (4, "8")}, r"dims\[1\] is '8', no integer"),
        ({"weights": (1.0,)}, r"weights has shape \[1\]; allowed is one weight for each of the 3 dims"),
        ({"weights": (1.0, -1.0, 1.0)}, r"weights are \[1\.0, -1\.0, 1\.0\]"),
        ({"scale": 0}, r"scale is 0\.0; allowed is a finite number above 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(tiny_model: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NestedMultipleNegatives(SentenceTransformer(str(tiny_model), device="cpu"), **{"dims": DIMS, **change})


def test_settings_of_the_other_losses_that_are_not_matched_are_refused(tiny_model: Path) -> None:
    model = SentenceTransformer(str(tiny_model), device="cpu")
    for setting in ("directions", "partition_mode", "hardness_mode", "similarity_fct", "n_dims_per_step"):
        with pytest.raises(TypeError, match=setting):
            NestedMultipleNegatives(model, DIMS, **{setting: None})


def test_one_column_is_refused(model: SentenceTransformer) -> None:
    with pytest.raises(ValueError, match="the batch has 1 columns; allowed: an anchor, a positive, then negatives"):
        NestedMultipleNegatives(model, DIMS)(_features(model, 1), None)


PROCESS = """
import json, sys
import torch
import torch.distributed as dist
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from matryoshka_text.sentence_transformers_loss import NestedMultipleNegatives

folder, meeting, rank, columns = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
model = SentenceTransformer(folder, device="cpu").double().eval()
features = lambda: [model.tokenize(texts[3 * rank : 3 * rank + 3]) for texts in columns]
found = []
for loss in (
    NestedMultipleNegatives(model, (4, 8, 32), (1.0, 2.0, 1.0), gather_across_devices=True),
    MatryoshkaLoss(model, MultipleNegativesRankingLoss(model, gather_across_devices=True), [4, 8, 32], [1.0, 2.0, 1.0]),
):
    model.zero_grad()
    value = loss(features(), None)
    value.backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    dist.all_reduce(gradients)
    values = value.detach().clone()
    dist.all_reduce(values)
    found.append({"own": value.item(), "mean": values.item() / 2, "gradients": (gradients / 2).tolist()})
print(json.dumps(found))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_gather_at_full_width(tiny_model: Path, tmp_path: Path) -> None:
    """Averaged over the processes, as DDP does it: the other loss's gradients, and those of the whole batch in one."""
    texts = json.dumps(list(COLUMNS.values()))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tiny_model), str(tmp_path / "meeting"), str(rank), texts],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        for rank in (0, 1)
    ]
    answers = [process.communicate() for process in started]
    assert all(process.returncode == 0 for process in started), answers[0][1][-3000:] + answers[1][1][-3000:]
    model = SentenceTransformer(str(tiny_model), device="cpu").double().eval()
    whole = NestedMultipleNegatives(model, DIMS, (1.0, 2.0, 1.0))(_features(model, 4), None)
    whole.backward()
    wanted = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    for out, _ in answers:
        ours, theirs = json.loads(out.splitlines()[-1])
        assert ours["own"] == pytest.approx(theirs["own"], rel=1e-10)
        assert ours["mean"] == pytest.approx(float(whole.detach()), rel=1e-10)
        for expected in (torch.tensor(theirs["gradients"], dtype=torch.float64), wanted):
            torch.testing.assert_close(
                torch.tensor(ours["gradients"], dtype=torch.float64), expected, rtol=1e-7, atol=1e-10
            )
