"""Pairs a second of `matryoshka_text.train` and SentenceTransformerTrainer: one model, the same batches, in one run.

    python benchmarks/training.py                       float32 and bf16 on a CPU
    python benchmarks/training.py --precision bf16 --device cuda --batch 512 --steps 100 --compile
    python benchmarks/training.py --steps 8 --segments 1 --threads 1        a quick look

Theirs is MatryoshkaLoss over MultipleNegativesRankingLoss (scale 20), ours InfoNCE at temperature 0.05, summed over the
same dims; AdamW, learning rate, weight decay and clipping are the same, and their trainer is fed the batches that ours
plans. First, in float32 and without dropout, both train for some steps from the same weights, and their losses are
compared step by step; a difference above 1e-4 ends the program. Then segments of N steps are timed, ours and theirs in
turns, each in a process of its own, with dropout. What a step needs counts (batches, tokenizing, padding, forward,
backward, update, the log of each side as it is by default); start-up, reading data and saving do not, nor do the first
steps of a segment. Ours cuts a batch into passes of like length by itself; `padded together` is the same batch in one
pass (batch.tokens), and `bucketed` also fills batches from sorted rows (batch.bucket).
"""

import argparse
import itertools
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from measure import in_own_process, machine, table, whole_numbers
from training_theirs import SCALE, Segment, planned, train_theirs

from matryoshka_text import train
from matryoshka_text.data.passes import like_lengths
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.resolve import resolve_model
from matryoshka_text.training.batches import pass_tokens

DATA = Path(__file__).parents[1] / "recipes" / "data" / "pairs" / "nli.jsonl.gz"
THEIRS = "SentenceTransformerTrainer"
VARIANTS: dict[str, dict[str, bool]] = {
    "ours": {},
    "ours, padded together": {"together": True},
    "ours, bucketed": {"bucket": True},
}
TOGETHER = 10**9
BARS = {"theirs": "bar: >= 1.0", "bf16": "bar: >= 1.4 on CPUs with AVX512-BF16"}


def recipe_of(options: argparse.Namespace, folder: Path, precision: str, variant: str, steps: int) -> Path:
    """The recipe of a variant, written into `folder`."""
    choice = VARIANTS.get(variant, {})
    batch: dict[str, Any] = {"size": options.batch, "max_length": options.max_length}
    batch |= {"tokens": TOGETHER} if choice.get("together") else {}
    batch |= {"bucket": options.bucket} if choice.get("bucket") else {}
    data = {"name": "nli", "file": str(options.data.resolve()), "kind": "pairs"}
    recipe = {
        "name": "throughput",
        "base": {"model": options.base},
        "dims": list(options.dims),
        "data": [{**data, "columns": {"anchor": "anchor", "positive": "positive"}}],
        "objectives": [{"kind": "info_nce", "temperature": 1 / SCALE}],
        "batch": batch,
        # A constant rate: where a schedule starts and ends is a matter of taste, and changes no speed.
        "optimizer": {"learning_rate": options.learning_rate, "schedule": "constant", "warmup": 0.0},
        "stopping": {"steps": steps},
        "checkpoints": {"every": steps, "keep": 1},
        "precision": precision,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def train_ours(options: argparse.Namespace, recipe: Path, folder: Path) -> Segment:
    """A run of ours through its public function."""
    run = train(recipe, out=folder / "run", compile=options.compile, attention=options.attention)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    timed = lines[options.warm :]
    seconds = sum(options.batch / line["pairs_per_second"] for line in timed)
    return Segment([line["loss"] for line in lines], options.batch * len(timed) / seconds)


def still(base: str, folder: Path) -> str:
    """A copy of the model without dropout."""
    to = folder / "still"
    shutil.copytree(resolve_model(base).path, to)
    config = json.loads((to / "config.json").read_text())
    config |= {key: 0.0 for key in config if key.endswith(("dropout", "dropout_prob")) and key != "classifier_dropout"}
    (to / "config.json").write_text(json.dumps(config))
    return str(to)


def segment(options: argparse.Namespace, variant: str, precision: str, steps: int, *, check: bool) -> Segment:
    """A segment, in this process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if check:
            options.base = still(options.base, folder)
        recipe = recipe_of(options, folder, precision, variant, steps=steps)
        if variant == THEIRS:
            return train_theirs(options, recipe, folder, precision, steps=steps, losses=check)
        return train_ours(options, recipe, folder)


def in_process(options: argparse.Namespace, arguments: list[str], more: Sequence[object]) -> Segment:
    """A segment in a process of its own."""
    environment = {"OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    environment |= {"ACCELERATE_USE_CPU": "true"} if options.device == "cpu" else {}
    found = in_own_process(__file__, [*arguments, "--segment-of", *map(str, more)], environment)
    return Segment(found["losses"], found["pairs_per_second"])


def check(options: argparse.Namespace, arguments: list[str]) -> None:
    """SystemExit if our losses, however they are cut into passes, differ from theirs."""
    names = [THEIRS, *(name for name, choice in VARIANTS.items() if not choice.get("bucket"))]
    theirs, *ours = (in_process(options, arguments, (name, "float32", options.check_steps, "check")) for name in names)
    print(f"theirs: loss {theirs.losses[0]:.4f} at step 1, {theirs.losses[-1]:.4f} at step {len(theirs.losses)}")
    for name, one in zip(names[1:], ours, strict=True):
        apart = np.abs(np.asarray(one.losses) / np.asarray(theirs.losses, dtype=np.float64) - 1)
        print(f"{name}: largest relative difference of a step's loss {apart.max():.1e}")
        if len(one.losses) != len(theirs.losses) or not apart.max() <= 1e-4:
            sys.exit(f"{name}: the losses are not theirs: {one.losses} against {theirs.losses}")


def padding(options: argparse.Namespace) -> dict[str, float]:
    """Padded tokens for each real one in the batches of a segment, for each variant."""
    tokenizer = MatryoshkaEncoder(options.base, device="cpu").tokenizer
    found: dict[str, float] = {}
    for variant in (THEIRS, *VARIANTS):
        padded = real = 0
        with tempfile.TemporaryDirectory() as name:
            columns, walk = planned(recipe_of(options, Path(name), "float32", variant, steps=options.steps))
        together = variant == THEIRS or VARIANTS[variant].get("together")
        tokens = TOGETHER if together else pass_tokens(torch.device(options.device))
        for rows in itertools.islice(walk, options.steps):
            texts = [[column[row] for row in rows] for column in columns]
            # Their trainer pads each column for itself.
            for group in texts if variant == THEIRS else [list(itertools.chain(*texts))]:
                ids = tokenizer(group, truncation=True, max_length=options.max_length)["input_ids"]
                lengths = np.asarray([len(row) for row in ids])
                padded += sum(len(part) * int(lengths[part].max()) for part in like_lengths(lengths, None, tokens))
                real += int(lengths.sum())
        found[variant] = padded / real
    return found


def measure(options: argparse.Namespace, arguments: list[str]) -> dict[tuple[str, str], list[float]]:
    """Pairs a second of each segment of each precision and variant, in turns."""
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.segments):
        for precision in options.precision:
            for variant in (THEIRS, *VARIANTS):
                done = in_process(options, arguments, (variant, precision, options.steps, "time"))
                rates.setdefault((precision, variant), []).append(done.pairs_per_second)
    return rates


def report(options: argparse.Namespace, rates: dict[tuple[str, str], list[float]]) -> None:
    """Print the table and the ratios that have a bar."""
    padded = padding(options)
    middle = {key: statistics.median(values) for key, values in rates.items()}
    rows = [
        (
            precision,
            variant,
            f"{middle[precision, variant]:.1f}",
            f"{min(values):.1f} to {max(values):.1f}",
            f"{middle[precision, variant] / middle[precision, THEIRS]:.2f}",
            f"{padded[variant]:.2f}",
        )
        for (precision, variant), values in rates.items()
    ]
    head = ("precision", "variant", "pairs/s, median", "of the segments", "x theirs", "padded / real tokens")
    print(
        f"\n{options.segments} segments of each, in turns, {options.steps} steps, the first {options.warm} not counted"
    )
    print(f"\n{table(head, rows)}\n")
    for precision in options.precision:
        print(
            f"{precision}: ours / theirs {middle[precision, 'ours'] / middle[precision, THEIRS]:.2f} ({BARS['theirs']})"
        )
    if {"float32", "bf16"} <= set(options.precision):
        for variant in ("ours", THEIRS):
            ratio = middle["bf16", variant] / middle["float32", variant]
            print(f"{variant}: bf16 / float32 {ratio:.2f}" + (f" ({BARS['bf16']})" if variant == "ours" else ""))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--data", type=Path, default=DATA, help="JSON Lines with anchor and positive")
    parser.add_argument("--dims", type=whole_numbers, default=(12, 24, 48, 96, 192, 384))
    parser.add_argument("--batch", type=int, default=64, help="pairs")
    parser.add_argument("--max-length", type=int, default=64, help="tokens")
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--steps", type=int, default=40, help="of a segment")
    parser.add_argument("--warm", type=int, default=5, help="first steps of a segment, which are not counted")
    parser.add_argument("--segments", type=int, default=3, help="of each variant and precision")
    parser.add_argument("--check-steps", type=int, default=10)
    parser.add_argument("--bucket", type=int, default=16, help="batch.bucket of the variant that has it")
    parser.add_argument("--precision", choices=("float32", "bf16", "both"), default="both")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--compile", action="store_true", help="torch.compile, on both sides")
    parser.add_argument("--attention", help="of both sides, as transformers names it (default: its own choice)")
    parser.add_argument("--segment-of", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.precision = ("float32", "bf16") if options.precision == "both" else (options.precision,)
    if not 1 <= options.warm < options.steps:
        parser.error(f"--warm is {options.warm}; allowed: 1 to {options.steps - 1}, fewer than --steps")
    return options


def main(arguments: list[str]) -> None:
    """Print the machine, the check and the table."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    if options.segment_of:
        variant, precision, steps, why = options.segment_of
        options.warm = min(options.warm, int(steps) - 1)
        done = segment(options, variant, precision, int(steps), check=why == "check")
        print(json.dumps({"losses": done.losses, "pairs_per_second": done.pairs_per_second}))
        return
    print(machine(options.device))
    print(f"{options.base}, batch {options.batch}, at most {options.max_length} tokens, dims {list(options.dims)}\n")
    check(options, arguments)
    report(options, measure(options, arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
