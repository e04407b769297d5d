"""Peak memory and seconds of one optimizer step on a large batch, with gradient caching and without, side by side.

    python benchmarks/gradient_caching.py                             256 to 16,384 pairs on a CPU
    python benchmarks/gradient_caching.py --batch 16384,65536,262144 --chunk 1024 --device cuda --precision bf16
    python benchmarks/gradient_caching.py --batch 64,256 --threads 1  a quick look

Ours is a run's own step (batch.gradient_caching, InfoNCE at temperature 0.05 summed over the dims): tokenizing, both
passes, clipping, AdamW. Without caching it is the same step with the graph of every chunk kept. Theirs is
sentence-transformers' MatryoshkaLoss over CachedMultipleNegativesRankingLoss with the same mini-batch. First the loss
and the gradient of all weights are compared on a small batch without dropout: ours cached, ours in one pass, theirs; a
difference ends the program. Then each step is made in a process of its own, after a small one that lets the optimizer's
moments come up. Memory is the peak resident size (Linux; on a GPU torch.cuda.max_memory_allocated), everything
included. A step without caching is left out where what smaller batches took says that it would not fit.

The texts are the quickstart's pairs of which none shares a text with another; where there are fewer than asked for,
they are repeated with a number behind each text, which is said.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from gradient_caching_report import CACHED, KEPT, THEIRS, Taken, expected_peak, pairs_of, report
from measure import in_own_process, machine, reset_resident_peak, resident_peak, whole_numbers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss, MatryoshkaLoss
from torch import Tensor

from matryoshka_text import load_recipe
from matryoshka_text.build.runtime import Runtime
from matryoshka_text.encoder.resolve import resolve_model
from matryoshka_text.training.folder import RunFolder
from matryoshka_text.training.inputs import read_inputs
from matryoshka_text.training.loop import Loop
from matryoshka_text.training.processes import Processes

DATA = Path(__file__).parents[1] / "recipes" / "data" / "pairs" / "nli.jsonl.gz"
SCALE = 20.0
VARIANTS = (CACHED, KEPT, THEIRS)
MIB = 2**20
# Of what is free when the program starts: a step that is expected to take more is left out.
MOST = 0.8


class Ours:
    """A run of ours that takes one step, assembled as `matryoshka_text.train` does it."""

    def __init__(self, options: argparse.Namespace, pairs: list[tuple[str, str]], folder: Path, **batch: Any) -> None:
        read = load_recipe(_recipe(options, pairs, folder, batch))
        accelerator = Accelerator(mixed_precision="no", cpu=options.device == "cpu")
        inputs = read_inputs(read, RunFolder(folder / "run"), accelerator, store=False, runtime=Runtime())
        processes = Processes(accelerator, bf16=options.precision == "bf16")
        self.loop = Loop(inputs, processes)
        self.model, self.stream = inputs.trained.encoder, self.loop.streams["pairs"]

    def step(self, rows: Sequence[int]) -> None:
        """One update."""
        self.loop.step(0, {"pairs": self.stream.prepare(0, [rows])}).record(self.loop.seconds)

    def gradient(self, rows: Sequence[int]) -> float:
        """The loss; the gradient lies in the model's parameters."""
        return float(self.stream.contribute(0, self.stream.prepare(0, [rows])).loss)


def _recipe(options: argparse.Namespace, pairs: list[tuple[str, str]], folder: Path, batch: dict[str, Any]) -> Path:
    lines = (json.dumps({"anchor": first, "positive": second}) + "\n" for first, second in pairs)
    (folder / "pairs.jsonl").write_text("".join(lines))
    recipe = {
        "name": "caching",
        "base": {"model": options.base},
        "dims": list(options.dims),
        "data": [{"name": "pairs", "file": "pairs.jsonl", "kind": "pairs"}],
        "objectives": [{"kind": "info_nce", "temperature": 1 / SCALE}],
        "batch": {"size": len(pairs), "max_length": options.max_length, **batch},
        "stopping": {"steps": 1},
        "precision": options.precision,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


class Theirs:
    """sentence-transformers' cached loss in its MatryoshkaLoss, with the same optimizer and clipping."""

    def __init__(self, options: argparse.Namespace, pairs: list[tuple[str, str]]) -> None:
        self.pairs, self.device, self.bf16 = pairs, options.device, options.precision == "bf16"
        path = str(resolve_model(options.base).path)
        self.model = SentenceTransformer(path, device=options.device, model_kwargs={"dtype": torch.float32})
        self.model.max_seq_length = options.max_length
        self.model.train()
        inner = CachedMultipleNegativesRankingLoss(self.model, scale=SCALE, mini_batch_size=options.chunk)
        self.loss = MatryoshkaLoss(self.model, inner, list(options.dims))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-5)

    def step(self, rows: Sequence[int]) -> None:
        """One update."""
        self.gradient(rows)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def gradient(self, rows: Sequence[int]) -> float:
        """The loss; the gradient lies in the model's parameters."""
        columns = [[self.pairs[row][place] for row in rows] for place in (0, 1)]
        features = [
            {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in self.model.preprocess(texts).items()}
            for texts in columns
        ]
        with torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16, enabled=self.bf16):
            loss = self.loss(features, None)
        loss.backward()
        return float(loss.detach())


def side(options: argparse.Namespace, variant: str, pairs: list[tuple[str, str]], folder: Path) -> Ours | Theirs:
    """The variant, ready for its step."""
    torch.manual_seed(0)
    if variant == THEIRS:
        return Theirs(options, pairs)
    return Ours(options, pairs, folder, chunk=options.chunk, gradient_caching=variant == CACHED)


def measure(options: argparse.Namespace, variant: str, batch: int) -> Taken:
    """One step of the variant in this process."""
    pairs, _ = pairs_of(options, batch)
    with tempfile.TemporaryDirectory() as name:
        one = side(options, variant, pairs, Path(name))
        # Moments, kernels and thread pools come up before anything is read.
        one.step(range(min(2 * options.chunk, batch)))
        read, reset = _memory(options.device)
        reset()
        before, start = read(), time.perf_counter()
        one.step(range(batch))
        return Taken(before, read(), time.perf_counter() - start)


def _memory(device: str) -> tuple[Callable[[], float], Callable[[], None]]:
    """What reads the peak in MiB once all is done, and what starts it anew."""
    if device == "cpu":
        return resident_peak, reset_resident_peak

    def read() -> float:
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / MIB

    return read, torch.cuda.reset_peak_memory_stats


def check(options: argparse.Namespace) -> None:
    """SystemExit if the loss or the gradient of a variant differs from ours in one pass."""
    rows, pairs = range(options.check_batch), pairs_of(options, options.check_batch)[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = argparse.Namespace(**vars(options) | {"chunk": 5, "precision": "float32"})
        settings.base = str(folder / "still")
        shutil.copytree(resolve_model(options.base).path, settings.base)
        _without_dropout(Path(settings.base) / "config.json")
        sides: dict[str, Ours | Theirs] = {"ours, one pass": Ours(settings, pairs, folder)}
        sides |= {variant: side(settings, variant, pairs, folder) for variant in VARIANTS}
        found = {variant: (one.gradient(rows), _gradients(one.model)) for variant, one in sides.items()}
    loss, gradient = found.pop("ours, one pass")
    print(f"{len(rows)} pairs in float32 without dropout, against ours in one pass (loss {loss:.5f}):")
    for variant, (value, grads) in found.items():
        apart = torch.stack([(grads[key] - gradient[key]).norm() for key in gradient]).norm()
        off = float(apart / torch.stack([part.norm() for part in gradient.values()]).norm())
        print(f"  {variant}: loss off by {abs(value / loss - 1):.1e}, gradient by {off:.1e}, relatively")
        if grads.keys() != gradient.keys() or not max(abs(value / loss - 1), off) <= 1e-5:
            sys.exit(f"{variant}: not the same gradient")


def _without_dropout(config: Path) -> None:
    read = json.loads(config.read_text())
    read |= {key: 0.0 for key in read if key.endswith(("dropout", "dropout_prob")) and key != "classifier_dropout"}
    config.write_text(json.dumps(read))


def _gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}


def free(device: str) -> float:
    """MiB that a process may take."""
    if device != "cpu":
        return torch.cuda.mem_get_info()[0] / MIB
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MIB


def measure_all(options: argparse.Namespace, arguments: list[str]) -> dict[tuple[str, int], Taken]:
    """Every variant at every batch that fits, each in a process of its own."""
    environment = {"OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    environment |= {"ACCELERATE_USE_CPU": "true"} if options.device == "cpu" else {}
    taken: dict[tuple[str, int], Taken] = {}
    for batch in options.batch:
        for variant in VARIANTS:
            expected = expected_peak(taken, variant, batch)
            if variant == KEPT and expected > MOST * free(options.device):
                print(f"{variant}, {batch:,} pairs: left out, about {expected:,.0f} MiB would be needed")
                continue
            found = in_own_process(__file__, [*arguments, "--step-of", variant, str(batch)], environment)
            taken[variant, batch] = Taken(**found)
    return taken


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--data", type=Path, default=DATA, help="gzip JSON Lines with anchor and positive")
    parser.add_argument("--dims", type=whole_numbers, default=(12, 24, 48, 96, 192, 384))
    parser.add_argument("--batch", type=whole_numbers, default=(256, 1024, 4096, 16384), help="pairs, ascending")
    parser.add_argument("--chunk", type=int, default=64, help="texts in one pass of the encoder")
    parser.add_argument("--max-length", type=int, default=64, help="tokens")
    parser.add_argument("--check-batch", type=int, default=48, help="pairs of the comparison")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--step-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if list(options.batch) != sorted(set(options.batch)) or options.batch[0] < 2:
        parser.error(f"--batch is {options.batch}; allowed: numbers of at least 2, ascending")
    return options


def main(arguments: list[str]) -> None:
    """Print the machine, the check and the table."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    if options.step_of:
        variant, batch = options.step_of
        print(json.dumps(asdict(measure(options, variant, int(batch)))))
        return
    print(machine(options.device))
    print(f"{options.base}, {options.precision}, chunks of {options.chunk} texts, dims {list(options.dims)}")
    most = max(options.batch)
    own = pairs_of(options, most)[1]
    numbered = f"; the other {most - own:,} are these with a number behind each text" if own < most else ""
    print(f"{own:,} of {most:,} pairs are as {options.data.name} has them{numbered}\n")
    check(options)
    report(options, measure_all(options, arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
