"""The incumbent, for comparison: sentence-transformers' MatryoshkaLoss over MultipleNegativesRankingLoss.

    python recipes/studies/matryoshka_loss.py OUT [--seed 0] [--steps 125] [--learning-rate 5e-5]

The same base and number of pairs as the first quickstart: entailments of recipes/data/pairs/nli.jsonl.gz
(the loss takes every other pair of a batch as unrelated, so only pairs that are related will do), 64 pairs a step.
"""

import argparse
import gzip
import json
from pathlib import Path

from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

from matryoshka_text.encoder import resolve_model

BASE = "sentence-transformers/all-MiniLM-L6-v2"
PAIRS = Path(__file__).parents[1] / "data/pairs/nli.jsonl.gz"
DIMS = [384, 192, 96, 48, 24, 12]


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=125)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    asked = parser.parse_args()
    with gzip.open(PAIRS, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["label"] == "entailment"]
    data = Dataset.from_list([{"anchor": row["anchor"], "positive": row["positive"]} for row in rows])
    model = SentenceTransformer(str(resolve_model(BASE).path))
    model.max_seq_length, longest = 64, model.max_seq_length
    loss = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model), DIMS)
    settings = SentenceTransformerTrainingArguments(
        output_dir=f"{asked.out}/trainer",
        max_steps=asked.steps,
        per_device_train_batch_size=64,
        learning_rate=asked.learning_rate,
        warmup_steps=0.1,
        batch_sampler="no_duplicates",
        seed=asked.seed,
        save_strategy="no",
        report_to="none",
    )
    SentenceTransformerTrainer(model=model, args=settings, train_dataset=data, loss=loss).train()
    # Saved with the length of training, every later document would be cut.
    model.max_seq_length = longest
    model.save_pretrained(f"{asked.out}/model")


if __name__ == "__main__":
    main()
