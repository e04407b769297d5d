"""The whole training step (forward, loss, backward, clipping, AdamW) at K dims against one dim, by the run's own parts.

    python benchmarks/whole_step.py                 masked language model, 512 masked rows, float32 and bf16, on a CPU
    python benchmarks/whole_step.py --precision bf16 --loop         next to the naive loop over the dims
    python benchmarks/whole_step.py --case infonce --batch 256 --chunk 64    pairs with gradient caching, on a CPU
    python benchmarks/whole_step.py --case h100-infonce --loop      16,384 pairs with gradient caching, bf16, on a GPU

Models, batches, objective, clipping and optimizer are those of a recipe, built as a run builds them; only the inputs of
the steps (tokens, masks) are formed before the clock starts, as a run forms them in another thread. Steps of the
variants take turns. "loop" is the same program with the function that objectives call for their loss replaced by its
backend "reference", the autograd loop over the dims. What the loss costs by itself is measured on the tensors of a
step, forward and backward, also in turns.

Before the clock starts: from the same weights and on the same batch, the loss at full width is the same in all
variants, and the losses at the K dims add up to the total.
"""

import argparse
import gzip
import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from measure import interleaved, machine, table, whole_numbers
from whole_step_variants import Variant, losses_alone

TEXT = Path(__file__).parents[1] / "recipes" / "data" / "text" / "train.txt.gz"
OBJECTIVES = {"mlm": "mlm", "infonce": "info_nce"}
BARS = {"mlm": ("cpu", 1.08), "infonce": ("cuda", 1.03)}
SIZES: dict[str, tuple[float, ...]] = {"mlm": (27, 128, 0.15), "infonce": (16384,)}
PRESETS: dict[str, dict[str, Any]] = {
    "h100-infonce": {"case": "infonce", "device": "cuda", "batch": 16384, "chunk": 1024, "precision": "bf16"}
}


def write_recipe(folder: Path, options: argparse.Namespace, dims: tuple[int, ...], precision: str) -> Path:
    """A recipe of the case, with the data that comes with the package."""
    if options.case == "mlm":
        data = {"name": "text", "file": str(options.text), "kind": "text"}
        objective = {"kind": "mlm", "share": options.share, "max_length": options.length, "packing": True}
        batch: dict[str, Any] = {"size": options.sequences}
        if options.chunk:
            batch["chunk"] = options.chunk
    else:
        data = {"name": "pairs", "file": str(write_pairs(folder, options)), "kind": "pairs"}
        objective = {"kind": "info_nce"}
        batch = {"size": options.batch, "chunk": options.chunk or 64, "gradient_caching": True, "max_length": 128}
    recipe = {
        "name": "step",
        "base": {"model": options.base},
        "dims": list(dims),
        "data": [data],
        "objectives": [objective],
        "batch": batch,
        "stopping": {"steps": 1000},
        "precision": precision,
    }
    path = folder / f"{options.case}-{len(dims)}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def write_pairs(folder: Path, options: argparse.Namespace) -> Path:
    """Pairs of neighbouring runs of words from the text: as many as a batch has, none twice."""
    path = folder / "pairs.jsonl"
    with gzip.open(options.text, "rt") as file:
        words = itertools.chain.from_iterable(line.split() for line in file)
        # Some runs are the same by chance, and a batch takes no text twice.
        found: dict[str, str] = {}
        seen: set[str] = set()
        while len(found) < options.batch:
            pair = [" ".join(itertools.islice(words, options.words)) for _ in range(2)]
            if not pair[1]:
                sys.exit(f"--batch: {options.text} has {len(found)} pairs of {options.words} words; take --words less")
            if not seen.intersection(pair):
                found[pair[0]] = pair[1]
            seen.update(pair)
    path.write_text("".join(json.dumps({"anchor": a, "positive": p}) + "\n" for a, p in found.items()))
    return path


def assemble(recipe_path: Path, options: argparse.Namespace, precision: str) -> tuple[Any, list[Any]]:
    """The loop of a recipe's run before its first step, and the inputs of its first steps: what `train` does itself."""
    from accelerate import Accelerator

    from matryoshka_text import load_recipe
    from matryoshka_text.build.runtime import Runtime
    from matryoshka_text.training.batches import batches_from
    from matryoshka_text.training.folder import RunFolder
    from matryoshka_text.training.inputs import read_inputs
    from matryoshka_text.training.loop import Loop
    from matryoshka_text.training.processes import Processes

    torch.manual_seed(0)
    recipe = load_recipe(recipe_path)
    accelerator = Accelerator(mixed_precision="no", cpu=options.device == "cpu")
    runtime = Runtime(compile=options.compile, attention=options.attention)
    folder = RunFolder.of(recipe, recipe_path.parent / "run")
    inputs = read_inputs(recipe, folder, accelerator, store=False, runtime=runtime)
    processes = Processes(accelerator, bf16=precision == "bf16")
    loop = Loop(inputs, processes)
    steps = batches_from(inputs.recipe, inputs.plans, 0, options.batches)
    return loop, [
        {name: loop.streams[name].prepare(step, rows) for name, rows in batches.items()} for step, batches in steps
    ]


def make_variants(options: argparse.Namespace, folder: Path, precision: str) -> dict[str, Variant]:
    """One dim, K dims, and the naive loop where it is asked for."""
    found = {}
    choices = {"one": ((options.dims[-1],), "auto"), "ours": (options.dims, "auto")}
    if options.loop:
        choices["loop"] = (options.dims, "reference")
    for name, (dims, backend) in choices.items():
        loop, work = assemble(write_recipe(folder, options, dims, precision), options, precision)
        found[name] = Variant(name, options.case, backend, loop=loop, work=work)
    return found


def check(variants: dict[str, Variant], options: argparse.Namespace) -> None:
    """SystemExit if the losses of the first step do not agree."""
    objective, full = OBJECTIVES[options.case], options.dims[-1]
    records = {name: variant.step() for name, variant in variants.items()}
    expected = records["one"].per_dim[objective][full]
    # On a GPU products of other shapes are cut into other tiles, and may round to TF32.
    allowed = 1e-5 if options.device == "cpu" else 1e-3
    for name, record in records.items():
        per_dim = record.per_dim[objective]
        apart = abs(per_dim[full] - expected) / expected
        unsummed = abs(sum(per_dim.values()) - record.loss) / record.loss
        print(
            f"  {name}: at {full} dims {per_dim[full]:.6f} nats, {apart:.1e} from one dim's; sum over dims off by ",
            end="",
        )
        print(f"{unsummed:.1e}")
        if not max(apart, unsummed) <= allowed:
            sys.exit(f"{name}: the losses of the first step do not fit together; allowed is {allowed:.0e}")


def rows_of(variant: Variant) -> str:
    """What a step reads, in words."""
    if variant.case == "infonce":
        return f"{next(iter(variant.work[0].values())).count} pairs"
    masked = [sum(len(chunk.target) for chunk in step["text"].inputs) for step in variant.work]
    return f"{statistics.mean(masked):.0f} masked rows on average"


def report(options: argparse.Namespace, taken: dict[str, list[float]], alone: dict[str, list[float]]) -> None:
    """Print one row per variant as a Markdown table, and the bar."""
    names = {
        "one": f"one dim, {options.dims[-1]}",
        "ours": f"{len(options.dims)} dims",
        "loop": f"{len(options.dims)} dims, autograd loop",
    }
    middle, least = ({k: f(v) for k, v in taken.items()} for f in (statistics.median, min))
    rows = []
    for name in taken:
        loss = statistics.median(alone[name])
        ratio = f"{middle[name] / middle['one']:.3f} ({least[name] / least['one']:.3f})"
        rows.append(
            (
                names[name],
                f"{middle[name]:.3f}",
                f"{least[name]:.3f}",
                ratio,
                f"{loss:.3f}",
                f"{loss / middle[name]:.0%}",
            )
        )
    print(f"\n{len(taken['one'])} interleaved steps; ratios of the median (of the minimum)\n")
    print(table(("step", "median s", "min s", "x one dim", "loss only, median s", "share of the step"), rows))
    where, bar = BARS[options.case]
    ratio = middle["ours"] / middle["one"]
    sizes = (options.sequences, options.length, options.share) if options.case == "mlm" else (options.batch,)
    if (where, sizes, len(options.dims)) != (options.device, SIZES[options.case], 6):
        print(f"\nno bar was set for this size and device: {ratio:.3f} x one dim")
        return
    print(f"\nbar <= {bar} x one dim: {ratio:.3f}, {'met' if ratio <= bar else 'not met'}")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; a preset of --case fills in what belongs to it, and what is given with it wins."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=("mlm", "infonce", *PRESETS), default="mlm")
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--dims", type=whole_numbers, default=(12, 24, 48, 96, 192, 384), help="the last: full width")
    parser.add_argument("--precision", choices=("float32", "bf16", "both"), default="both")
    parser.add_argument("--sequences", type=int, default=27, help="of the masked language model, a step")
    parser.add_argument("--length", type=int, default=128, help="tokens of a sequence; texts are packed")
    parser.add_argument("--share", type=float, default=0.15, help="of the tokens that are masked")
    parser.add_argument("--batch", type=int, default=256, help="pairs of the InfoNCE case, a step")
    parser.add_argument("--words", type=int, default=16, help="of each text of a pair")
    parser.add_argument(
        "--chunk", type=int, help="texts in one pass (64 for InfoNCE, all for the masked language model)"
    )
    parser.add_argument("--text", type=Path, default=TEXT, help="gzip, a text a line")
    parser.add_argument(
        "--no-loop", dest="loop", action="store_false", help="leave the autograd loop over the dims out"
    )
    parser.add_argument("--batches", type=int, default=4, help="different batches, taken in turn")
    parser.add_argument("--seconds", type=float, default=120.0, help="of timing for each precision")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="the encoder through torch.compile")
    parser.add_argument("--attention", help="transformers' implementation of attention")
    preset = PRESETS.get(parser.parse_args(arguments).case)
    if preset is not None:
        parser.set_defaults(**preset)
    options = parser.parse_args(arguments)
    options.case = preset["case"] if preset is not None else options.case
    return options


def main(arguments: list[str]) -> None:
    """Print the environment and, for each precision, the check and the table."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    print(machine(options.device))
    for precision in ("float32", "bf16") if options.precision == "both" else (options.precision,):
        with tempfile.TemporaryDirectory() as name:
            variants = make_variants(options, Path(name), precision)
            dims = ", ".join(map(str, options.dims))
            print(f"\n{options.case}, {options.base}, {precision}: {rows_of(variants['one'])}, dims {dims}")
            check(variants, options)
            alone = interleaved(losses_alone(variants), min(options.seconds / 4, 20.0), least=3)
            report(options, interleaved({k: v.step for k, v in variants.items()}, options.seconds), alone)


if __name__ == "__main__":
    main(sys.argv[1:])
