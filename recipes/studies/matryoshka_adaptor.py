"""Matryoshka-Adaptor (arXiv:2407.20243), unsupervised, for comparison: e + MLP(e) on a frozen encoder.

    python recipes/studies/matryoshka_adaptor.py OUT --data-root DIR [--steps 2000]

Learns on the texts of recipes/data/sources, as the rotation does, and scores the adapted all-MiniLM-L6-v2 on the suite
`all` into OUT. Its loss, over prefixes m, with s the cosines of the frozen vectors and s_m those of adapted prefixes:

    sum_m  mean over each text's 10 nearest |s - s_m|  +  alpha x mean over all pairs of the batch |s - s_m|
    + beta x mean |MLP(e)|

Adam at 1e-3, batches of 128 texts of one source, alpha and beta 1. It moves full width, which a rotation does not.
"""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, normalize

from matryoshka_text import MatryoshkaEncoder, evaluate
from matryoshka_text.evaluation import models as subjects
from matryoshka_text.rotation.neighbours import nearest_rows

BASE = "sentence-transformers/all-MiniLM-L6-v2"
DATA = Path(__file__).parents[1] / "data"
DIMS = (12, 24, 48, 96, 192, 384)


class Adaptor(nn.Module):
    """A sentence-transformers module: the sentence embedding e becomes e + MLP(e)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        nn.init.zeros_(self.mlp[2].weight)
        nn.init.zeros_(self.mlp[2].bias)

    def forward(self, features: dict[str, Any], **settings: Any) -> dict[str, Any]:
        """The features with the adapted sentence embedding."""
        unit = normalize(features["sentence_embedding"], dim=1)
        return {**features, "sentence_embedding": unit + self.mlp(unit)}


def texts_by_source(most: int) -> dict[str, list[str]]:
    """The bundled texts, of each source the first `most` rows."""
    found: dict[str, list[str]] = {}
    for path in sorted((DATA / "sources").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines][:most]
        found[path.name] = [row[column][:400] for column in ("anchor", "positive") for row in rows]
    return found


def learned(sources: list[Tensor], steps: int, seed: int) -> Adaptor:
    """The adaptor after `steps` of Adam."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    near = [nearest_rows(vectors, 10) for vectors in sources]
    adaptor = Adaptor(sources[0].shape[1])
    optimizer = torch.optim.Adam(adaptor.parameters(), lr=1e-3)
    for step in range(steps):
        source = step % len(sources)
        vectors = sources[source]
        rows = torch.randperm(len(vectors), generator=generator)[:128]
        others = near[source][rows]
        moved = adaptor.mlp(vectors[rows])
        mine = vectors[rows] + moved
        theirs = vectors[others] + adaptor.mlp(vectors[others])
        loss = moved.abs().mean()
        for dim in DIMS:
            a, b = normalize(mine[:, :dim], dim=1), normalize(theirs[..., :dim], dim=2)
            loss = loss + l1_loss(
                torch.einsum("nd,nkd->nk", a, b), torch.einsum("nd,nkd->nk", vectors[rows], vectors[others])
            )
            loss = loss + l1_loss(a @ a.T, vectors[rows] @ vectors[rows].T)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return adaptor.eval()


def main() -> None:
    """Learn, and score on the 17 tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    encoder = MatryoshkaEncoder(BASE)
    vectors = [torch.from_numpy(encoder.encode(rows, dtype="auto")) for rows in texts_by_source(asked.most).values()]
    adaptor = learned(vectors, asked.steps, asked.seed)

    plain = subjects.Subject.encoder

    def adapted(self: subjects.Subject, device: str | None) -> MatryoshkaEncoder:
        opened = plain(self, device)
        opened.insert(len(opened) - 1, adaptor)
        return opened.eval()

    subjects.Subject.encoder = adapted  # type: ignore[method-assign]
    found = evaluate(BASE, "all", dims=DIMS, data_root=asked.data_root, out=asked.out, dtype="auto", progress=True)
    for table in found.tables():
        if not table.task:
            print(table.title, {dim: round(score, 2) for dim, score in table.scores[0].items()})


if __name__ == "__main__":
    main()
