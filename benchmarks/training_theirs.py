"""The other side of training.py: SentenceTransformerTrainer on the same batches."""

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from transformers import TrainerCallback

from matryoshka_text import load_recipe
from matryoshka_text.data import read_sources, streams_of
from matryoshka_text.encoder.resolve import resolve_model
from matryoshka_text.training.batches import StreamPlan

SCALE = 20.0


@dataclass(frozen=True)
class Segment:
    """What one side did: each step's loss where it was asked for, and the rate of its steps after the first ones."""

    losses: list[float]
    pairs_per_second: float


def planned(recipe: Path) -> tuple[list[list[str]], Iterator[list[int]]]:
    """The columns of the recipe's pairs, and the rows of batch after batch as our run plans them."""
    read = load_recipe(recipe)
    examples = streams_of(read, read_sources(read))["pairs"]
    batches = StreamPlan(read, "pairs", examples, None).batches()
    return [list(column) for column in examples.columns], (rows.tolist() for rows in batches)


class NotedLoss(MatryoshkaLoss):
    """Their loss, whose values are kept where they are asked for."""

    def __init__(self, model: SentenceTransformer, dims: Sequence[int], *, note: bool) -> None:
        super().__init__(model, MultipleNegativesRankingLoss(model, scale=SCALE), list(dims))
        self.note, self.noted = note, list[torch.Tensor]()

    def forward(self, features: Any, labels: Any) -> torch.Tensor:
        """The loss."""
        value: torch.Tensor = super().forward(features, labels)
        if self.note:
            self.noted.append(value.detach())
        return value


class Clock(TrainerCallback):
    """When each step of their trainer ended; a GPU is waited for before the first and the last that count."""

    def __init__(self, *waited: int) -> None:
        self.waited, self.ends = waited, list[float]()

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Keep the time."""
        if torch.cuda.is_available() and state.global_step in self.waited:
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def train_theirs(
    options: argparse.Namespace, recipe: Path, folder: Path, precision: str, steps: int, *, losses: bool
) -> Segment:
    """A run of SentenceTransformerTrainer on the same batches; `losses` keeps each step's."""
    (anchors, positives), walk = planned(recipe)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "theirs"),
        max_steps=steps,
        per_device_train_batch_size=options.batch,
        learning_rate=options.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=precision == "bf16",
        use_cpu=options.device == "cpu",
        torch_compile=options.compile,
        batch_sampler=sampler_of(list(itertools.islice(walk, steps))),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    model, clock = their_model(options), Clock(options.warm, steps)
    loss = NotedLoss(model, options.dims, note=losses)
    pairs = Dataset.from_dict({"anchor": anchors, "positive": positives})
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=pairs, loss=loss, callbacks=[clock]).train()
    seconds = clock.ends[-1] - clock.ends[options.warm - 1]
    return Segment([float(value) for value in loss.noted], options.batch * (steps - options.warm) / seconds)


def their_model(options: argparse.Namespace) -> SentenceTransformer:
    """The base in float32, reading at most as many tokens as ours does in training."""
    settings = {"dtype": torch.float32}
    settings |= {} if options.attention is None else {"attn_implementation": options.attention}
    path = str(resolve_model(options.base).path)
    model = SentenceTransformer(path, device=options.device, model_kwargs=settings)
    model.max_seq_length = options.max_length
    return model


def sampler_of(rows: list[list[int]]) -> type[DefaultBatchSampler]:
    """A batch sampler for their trainer, of batches that are given."""

    class Planned(DefaultBatchSampler):
        def __iter__(self) -> Iterator[list[int]]:
            yield from rows

        def __len__(self) -> int:
            return len(rows)

    return Planned
