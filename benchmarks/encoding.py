"""Texts a second of `encode` and memory of `mtext encode`, against sentence-transformers' own `encode`, in one run.

    python benchmarks/encoding.py                       MiniLM as packaged, the texts that come with the repository
    python benchmarks/encoding.py --data a.txt.gz b.jsonl --column text --texts 2000
    python benchmarks/encoding.py --device cuda --texts 50000 --batches 32,128,512

The texts are of mixed lengths: paragraphs, sentences of pairs, passages, requests; with MTEXT_DATA_ROOT set also
abstracts, dialogue turns and reviews; as many from each file, drawn by a seed and shuffled. Before anything is timed,
our float32 vectors must be those of sentence-transformers within 1e-6, and our bf16 vectors within cosine 0.999 at
every dim. Then all variants run in turns: sentence-transformers at several batch sizes (32 is its default), ours in
float32 and in bf16 with the default pass; next to them sentence-transformers with its weights in bf16. At last, the
largest resident size of processes of their own that encode N and 4 N texts from a file, part by part.
"""

import argparse
import gzip
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from measure import in_own_process, interleaved, machine, reset_resident_peak, resident_peak, table
from sentence_transformers import SentenceTransformer

from matryoshka_text.encoder import MatryoshkaEncoder, resolve_model

SHIPPED = Path(__file__).parents[1] / "recipes" / "data"
# A file, and the columns of it that are texts.
SOURCES = {
    "text/train.txt.gz": (),
    "pairs/nli.jsonl.gz": ("anchor", "positive"),
    "squad/corpus.jsonl": ("text",),
    "mteb__banking77/train.jsonl.gz": ("text",),
}
LARGER = {
    "train/papers.jsonl.gz": ("title", "abstract"),
    "train/dialogues.jsonl.gz": ("utterance", "reply"),
    "mlm/reviews_ccby.txt.gz": (),
    "mlm/imdb.txt.gz": (),
}
IDENTICAL, NEAR = 1e-6, 0.999
OURS, OURS_BF16 = "ours, float32", "ours, bf16"


def read(path: Path, columns: tuple[str, ...]) -> Iterator[str]:
    """The texts of a file of lines, or in some columns of a file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            if columns and ".txt" not in path.name:
                row = json.loads(line)
                yield from (row[name] for name in columns if isinstance(row.get(name), str))
            elif text := line.strip():
                yield text


def draw(options: argparse.Namespace) -> tuple[list[str], str]:
    """The texts, and where they come from."""
    files = {SHIPPED / name: columns for name, columns in SOURCES.items()}
    if root := os.environ.get("MTEXT_DATA_ROOT"):
        files |= {Path(root) / name: columns for name, columns in LARGER.items()}
    if options.data:
        files = {path: (options.column,) for path in options.data}
    drawn, found = random.Random(options.seed), []
    for path, columns in files.items():
        texts = list(read(path, columns))
        found += drawn.sample(texts, min(len(texts), -(-options.texts // len(files))))
    drawn.shuffle(found)
    return found[: options.texts], ", ".join(path.name for path in files)


def lengths_of(model: SentenceTransformer, texts: list[str]) -> np.ndarray:
    """Tokens of each text as the model reads it."""
    found = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)["input_ids"]
    return np.asarray([len(ids) for ids in found])


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of each row of `a` to the same row of `b`."""
    a, b = (x.astype(np.float64) for x in (a, b))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def check(ours: MatryoshkaEncoder, theirs: SentenceTransformer, texts: list[str], dims: list[int]) -> None:
    """Print how near the vectors are; SystemExit if they are not near enough."""
    expected = theirs.encode(texts, show_progress_bar=False)
    full = ours.encode(texts, show_progress_bar=False)
    half = ours.encode(texts, dtype="bf16", show_progress_bar=False)
    # TF32 products, where torch has been told to use them, are not these.
    apart = float(np.abs(full - expected).max())
    print(f"float32: largest difference to sentence-transformers {apart:.1e} (bar <= {IDENTICAL:.0e})\n")
    near = {dim: cosines(half[:, :dim], full[:, :dim]) for dim in dims}
    rows = [[dim, f"{found.min():.5f}", f"{found.mean():.5f}"] for dim, found in near.items()]
    print(table(["dim", f"bf16: least cosine to float32 (bar >= {NEAR})", "mean"], rows) + "\n")
    if apart > IDENTICAL or min(found.min() for found in near.values()) < NEAR:
        sys.exit("the vectors are not near enough: nothing is timed")


def variants(
    ours: MatryoshkaEncoder, theirs: SentenceTransformer, texts: list[str], options: argparse.Namespace
) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    quiet = {"show_progress_bar": False}
    half = SentenceTransformer(options.path, device=options.device, model_kwargs={"dtype": torch.bfloat16})
    steps: dict[str, Callable[[], object]] = {
        f"sentence-transformers, batch {size}": lambda size=size: theirs.encode(texts, batch_size=size, **quiet)
        for size in options.batches
    }
    return {
        **steps,
        OURS: lambda: ours.encode(texts, **quiet),
        "sentence-transformers, weights in bf16, batch 32": lambda: half.encode(texts, **quiet),
        OURS_BF16: lambda: ours.encode(texts, dtype="bf16", **quiet),
    }


def time_all(steps: dict[str, Callable[[], object]], texts: int, tokens: int, options: argparse.Namespace) -> None:
    """Print texts and tokens a second of each, and the ratios the bars speak of."""
    taken = {name: statistics.median(runs) for name, runs in interleaved(steps, options.seconds, least=3).items()}
    default = taken[f"sentence-transformers, batch {options.batches[0]}"]
    best = min(seconds for name, seconds in taken.items() if "batch" in name and "bf16" not in name)
    rows = [
        [
            name,
            f"{texts / s:,.0f}",
            f"{tokens / s:,.0f}",
            f"{default / s:.2f} x",
            f"{best / s:.2f} x",
            f"{taken[OURS] / s:.2f} x",
        ]
        for name, s in taken.items()
    ]
    first = f"against batch {options.batches[0]}"
    print(table(["encode", "texts/s", "tokens/s", first, "against its best batch", "against ours float32"], rows))
    print(f"\nfloat32 against its default batch {default / taken[OURS]:.2f} x, against its best batch")
    print(f"{best / taken[OURS]:.2f} x (bar >= 1.0 x); bf16 against our float32")
    print(f"{taken[OURS] / taken[OURS_BF16]:.2f} x (bar on CPUs with AVX512-BF16 >= 1.4 x)\n")


def memory(texts: list[str], options: argparse.Namespace) -> None:
    """Print the peak resident size of a stream of N and of 4 N texts."""
    rows = []
    with tempfile.TemporaryDirectory() as made:
        for times in (1, 4):
            count, file = options.stream * times, Path(made) / f"{times}.txt"
            with file.open("w", encoding="utf-8") as out:
                # Over and over, each text with its number: no two lines are alike.
                out.writelines(f"{i} {' '.join(texts[i % len(texts)].split())}\n" for i in range(count))
            words = ["--child", str(file), "--out", f"{made}/out{times}", "--model", options.model]
            found = in_own_process(
                __file__, [*words, "--device", options.device, "--rows-per-part", str(options.rows_per_part)]
            )
            size = file.stat().st_size / 2**20
            rows.append([f"{count:,}", f"{size:.0f}", -(-count // options.rows_per_part), f"{found['opened']:.0f}"])
            rows[-1] += [f"{found['peak']:.0f}", f"{found['peak'] - found['opened']:.0f}"]
    head = ["texts", "MiB of text", "parts", "MiB before the first text", "MiB at the peak", "MiB more"]
    print(table(head, rows))
    print(f"\n4 x the texts: {float(rows[1][-1]) / max(float(rows[0][-1]), 1):.2f} x the memory above the model's")


def child(options: argparse.Namespace) -> None:
    """Encode a file in this process, and print its memory as JSON."""
    from matryoshka_text.encoding import encode_file

    if options.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    MatryoshkaEncoder(options.model, device=options.device).encode(["warm"], dtype="bf16")
    reset_resident_peak()
    opened = resident_peak()
    encode_file(options.model, options.child, options.out, dtype="bf16", rows_per_part=options.rows_per_part)
    print(json.dumps({"opened": opened, "peak": resident_peak()}))


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--data", nargs="+", type=Path, help="files of lines (.txt) or of JSON lines, also .gz")
    parser.add_argument("--column", default="text", help="the texts' column in files of JSON lines")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--batches", default="32,16,64,128", help="sentence-transformers' batches, its default first")
    parser.add_argument("--dims", default="12,24,48,96,192,384")
    parser.add_argument("--seconds", type=float, default=120.0, help="of interleaved timing; each runs thrice at least")
    parser.add_argument("--stream", type=int, default=4000, help="texts of the shorter stream; 0: no memory")
    parser.add_argument("--rows-per-part", type=int, default=1000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.batches = [int(size) for size in options.batches.split(",")]
    options.dims = [int(dim) for dim in options.dims.split(",")]
    return options


def main() -> None:
    """Check, time, measure memory."""
    options = parsed()
    if options.child is not None:
        child(options)
        return
    options.path = str(resolve_model(options.model).path)
    theirs = SentenceTransformer(options.path, device=options.device)
    ours = MatryoshkaEncoder(options.model, device=options.device)
    texts, origin = draw(options)
    lengths = lengths_of(theirs, texts)
    spread = ", ".join(f"{q}%: {np.percentile(lengths, q):.0f}" for q in (5, 25, 50, 75, 95))
    print(f"{machine(options.device)}\n\n{options.model}; {len(texts)} texts of {origin}")
    print(f"tokens a text: {spread}; {lengths.sum():,} in all\n")
    check(ours, theirs, texts, [dim for dim in options.dims if dim <= ours.width])
    time_all(variants(ours, theirs, texts, options), len(texts), int(lengths.sum()), options)
    if options.stream:
        memory(texts, options)


if __name__ == "__main__":
    main()
