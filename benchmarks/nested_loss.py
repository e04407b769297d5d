"""Time and peak memory of the nested cross-entropy, forward and backward, against what it replaces, in one run.

    python benchmarks/nested_loss.py                    both cases of the bars on a CPU
    python benchmarks/nested_loss.py --case infonce --batch 1024 --width 384 --dims 12,48,384
    python benchmarks/nested_loss.py --case h100-infonce          16,384 pairs, width 768, bf16, on a GPU
    python benchmarks/nested_loss.py --case h100-mlm              8,192 masked tokens, width 768, bf16, on a GPU
    python benchmarks/nested_loss.py --sweep            widths 384, 768, 1024; batches doubled as far as memory goes

The variants are in nested_variants.py: the plain loss at full width; the autograd loop over the dims, as it is and
under torch.compile; sentence-transformers' MatryoshkaLoss over MultipleNegativesRankingLoss on the same tensors (a stub
stands in for the encoder); nested_cross_entropy by each backend; on a GPU also the fused losses of one width, those of
Liger and of Cut-Cross-Entropy, K calls and one, the latter with and without gradient filtering. One that cannot run, or
does not fit in the free memory, is named with the reason, and the others go on.

Value and gradients are compared with a float64 loop before anything is timed (on the first rows and columns where that
loop does not fit); ours in half precision may be off by what the loop in that precision is off, and ends the program
beyond that. Repetitions are interleaved. On a CPU each variant's memory is the peak resident size of a process of its
own less its size before the first step (Linux resets the peak there; elsewhere it is the growth of the peak); on a GPU
torch.cuda.max_memory_allocated less what was allocated before. Gradients count, inputs do not.
"""

import argparse
import ctypes
import gc
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from measure import in_own_process, interleaved, machine, reset_resident_peak, resident_peak, table, whole_numbers
from nested_checks import check, drop_what_does_not_fit
from nested_variants import VARIANTS, Case, make_case, make_variant, step, variants_of

from matryoshka_text.nested import choose_backend

PRESETS: dict[str, dict[str, Any]] = {
    "h100-infonce": {"case": "infonce", "device": "cuda", "dtype": "bfloat16", "batch": 16384, "width": 768},
    "h100-mlm": {
        "case": "mlm",
        "device": "cuda",
        "dtype": "bfloat16",
        "mlm_rows": 8192,
        "mlm_width": 768,
        "mlm_dims": (12, 24, 48, 96, 192, 384, 768),
    },
}
WIDTHS = (384, 768, 1024)


@dataclass
class Measured:
    """What is known of a case's variants: seconds of each repetition, MiB, and why others are missing."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def time(self, name: str) -> float:
        """The median in seconds."""
        return statistics.median(self.seconds[name])

    def best(self, names: Sequence[str]) -> str | None:
        """The fastest of the variants that ran; None if none of them did."""
        return min((name for name in names if name in self.seconds), key=self.time, default=None)


def give_back() -> None:
    """Give freed memory back to the system, so that what comes next is seen to take it again."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def measure_memory(name: str, case: Case) -> float:
    """MiB that two steps of a variant add at their peak, gradients included, inputs not."""
    # Thread pools and libraries come up before the baseline is read, on a hundredth of the data; a compiler on all.
    b, n, _ = case.sizes
    small = case if name == "compiled" else case.first(max(2, b // 100), max(2, n // 100))
    step(make_variant(name, small), small)
    loss = make_variant(name, case)
    if name == "compiled":
        step(loss, case)
    for leaf in case.leaves:
        leaf.grad = None
    give_back()
    if case.query.is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(loss, case)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    reset_resident_peak()
    before_peak = resident_peak()
    step(loss, case)
    step(loss, case)
    return resident_peak() - before_peak


def measure(case_name: str, options: argparse.Namespace) -> tuple[Case, Measured]:
    """A case's variants checked, and measured side by side."""
    case, measured = make_case(case_name, options), Measured()
    names = [name for name in variants_of(case) if name not in options.leave_out]
    measured.missing |= {name: "left out" for name in variants_of(case) if name in options.leave_out}
    drop_what_does_not_fit(case, names, measured.missing)
    check(case, names, measured.missing)
    sizes = {"batch": options.batch, "width": options.width, "vocabulary": options.vocabulary}
    sizes |= {"mlm-rows": options.mlm_rows, "mlm-width": options.mlm_width, "device": options.device}
    sizes |= {"dims": ",".join(map(str, options.dims)), "mlm-dims": ",".join(map(str, options.mlm_dims))}
    sizes |= {"threads": options.threads, "dtype": options.dtype}
    words = [word for key, value in sizes.items() for word in (f"--{key}", str(value))]
    give_back()  # what this process holds of a GPU, the next ones could not take
    for name in names:
        # torch counts a GPU's memory by itself; a CPU's peak can only be read in a fresh process.
        measured.memory[name] = (
            measure_memory(name, case)
            if case.query.is_cuda
            else in_own_process(__file__, [*words, "--memory-of", f"{case_name}:{name}"])
        )
    steps = {name: make_variant(name, case) for name in names}
    measured.seconds = interleaved(
        {name: lambda loss=loss: step(loss, case) for name, loss in steps.items()}, options.seconds
    )
    return case, measured


def report(case: Case, measured: Measured) -> None:
    """Print one row per variant as a Markdown table."""

    def ratio(name: str, base: str) -> str:
        if base not in measured.seconds:
            return ""
        least = min(measured.seconds[name]) / min(measured.seconds[base])
        return f"{measured.time(name) / measured.time(base):.2f} ({least:.2f})"

    rows = []
    for name in variants_of(case):
        if name in measured.missing:
            rows.append((VARIANTS[name], measured.missing[name], "", "", "", "", ""))
            continue
        memory, loop = measured.memory[name], measured.memory.get("loop")
        times = f"{measured.time(name):.4f}", f"{min(measured.seconds[name]):.4f}"
        share = "" if loop is None else f"{memory / loop:.2f}"
        rows.append((VARIANTS[name], *times, ratio(name, "plain"), ratio(name, "loop"), f"{memory:.0f}", share))
    count = min(map(len, measured.seconds.values()))
    print(f"\n{count} interleaved repetitions; ratios of the median (of the minimum)\n")
    head = ("variant", "median s", "min s", "x plain", "x loop", "peak MiB", "memory x loop")
    print(table(head, rows))


def taken_by_auto(case: Case) -> str:
    """The variant that backend="auto" takes for the case."""
    if choose_backend(case.query.device, case.query.dtype, len(case.dims)).name == "chunked":
        return "chunked"
    from matryoshka_text.nested.fused import DEFAULT_ROUTE

    return f"fused-{DEFAULT_ROUTE}"


def has_a_bar(case: Case) -> bool:
    """Whether the case is one that the project set a bar for: sizes, type and device."""
    pairs, words = case.bias is None, case.bias is not None
    known = {
        ("cpu", 2, torch.float32, (2048, 2048, 768), 7): pairs,
        ("cpu", 2, torch.float32, (512, 30522, 384), 6): words,
        ("cuda", 0, torch.bfloat16, (16384, 16384, 768), 7): pairs,
        ("cuda", 0, torch.bfloat16, (8192, 30522, 768), 7): words,
    }
    where = case.query.device.type
    threads = torch.get_num_threads() if where == "cpu" else 0
    return known.get((where, threads, case.query.dtype, case.sizes, len(case.dims)), False)


def bars(case: Case, measured: Measured) -> list[tuple[str, float, float | None]]:
    """Each bar in words, the most that the ratio may be, and the ratio (None if a side is missing)."""
    time, memory = measured.time, measured.memory
    ours = taken_by_auto(case)

    def of(values: Any, other: str | None) -> float | None:
        return None if other is None or other not in measured.seconds else values(ours) / values(other)

    if not case.query.is_cuda:
        most = 1.6 if case.bias is None else 2.0
        return [
            (f"time <= {most} x plain", most, of(time, "plain")),
            ("memory <= 0.25 x loop", 0.25, of(memory.__getitem__, "loop")),
        ]
    if case.bias is None:
        other = "sentence-transformers"
        return [
            ("time <= 1/5 x sentence-transformers", 0.2, of(time, other)),
            ("memory <= 0.05 x sentence-transformers", 0.05, of(memory.__getitem__, other)),
        ]
    many, one = (measured.best([f"{n}{end}" for n in ("liger", "cce", "cce-unfiltered")]) for end in ("", "-one"))
    return [
        (f"time <= 1/3 x the best of K calls ({many})", 1 / 3, of(time, many)),
        (f"time <= 1.5 x the best of ONE call ({one})", 1.5, of(time, one)),
    ]


def print_bars(case: Case, measured: Measured) -> None:
    """Print the bars next to what was measured."""
    if not has_a_bar(case):
        print("\nno bar was set for this size, type and device")
        return
    print(f"\nours, as backend=auto takes it: {taken_by_auto(case)}")
    for words, most, ratio in bars(case, measured):
        result = (
            "open, nothing to compare with" if ratio is None else f"{ratio:.3f}, {'' if ratio <= most else 'not '}met"
        )
        print(f"bar {words}: {result}")


def sweep(options: argparse.Namespace, case_names: Sequence[str]) -> list[tuple[str, argparse.Namespace]]:
    """The cases of a sweep: each width, and for InfoNCE each batch from 512 up, doubled."""
    found = []
    for name in case_names:
        for width in WIDTHS:
            dims = tuple(width >> k for k in reversed(range(7 if width > 384 else 6)))
            sizes: dict[str, Any] = {"width": width, "dims": dims, "mlm_width": width, "mlm_dims": dims}
            batches = [512 << k for k in range(20) if 512 << k <= options.largest] if name == "infonce" else [0]
            for batch in batches:
                more = {"batch": batch} if batch else {}
                found.append((name, argparse.Namespace(**{**vars(options), **sizes, **more})))
    return found


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; a preset of --case fills in what belongs to it, and what is given with it wins."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=("infonce", "mlm", "all", *PRESETS), default="all")
    parser.add_argument("--batch", type=int, default=2048, help="pairs of the InfoNCE case")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument(
        "--dims", type=whole_numbers, default=(12, 24, 48, 96, 192, 384, 768), help="the last: the width"
    )
    parser.add_argument("--mlm-rows", type=int, default=512, help="masked tokens")
    parser.add_argument("--vocabulary", type=int, default=30522)
    parser.add_argument("--mlm-width", type=int, default=384)
    parser.add_argument("--mlm-dims", type=whole_numbers, default=(12, 24, 48, 96, 192, 384))
    parser.add_argument("--sweep", action="store_true", help="widths 384, 768, 1024, and batches up to --largest")
    parser.add_argument("--largest", type=int, help="batch of a sweep (default: 8192 on a CPU, 65536 on a GPU)")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--seconds", type=float, default=30.0, help="of timing for each case")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--leave-out", type=lambda text: tuple(text.split(",")), default=(), help="variants, by name")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    preset = PRESETS.get(parser.parse_args(arguments).case)
    if preset is not None:
        parser.set_defaults(**preset)
    options = parser.parse_args(arguments)
    options.case = preset["case"] if preset is not None else options.case
    options.largest = options.largest or (8192 if options.device == "cpu" else 65536)
    return options


def main(arguments: list[str]) -> None:
    """Print the environment and, for each case, the check, the table and the bars."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    if options.memory_of:
        case_name, _, name = options.memory_of.partition(":")
        print(json.dumps(measure_memory(name, make_case(case_name, options))))
        return
    print(f"{machine(options.device)}; {options.dtype}")
    names = ("infonce", "mlm") if options.case == "all" else (options.case,)
    for case_name, each in sweep(options, names) if options.sweep else [(name, options) for name in names]:
        b, width, dims = (
            (each.batch, each.width, each.dims)
            if case_name == "infonce"
            else (each.mlm_rows, each.mlm_width, each.mlm_dims)
        )
        print(f"\n{case_name}: {b} rows, {b if case_name == 'infonce' else each.vocabulary} columns, ", end="")
        print(f"width {width}, dims {', '.join(map(str, dims))}")
        case, measured = measure(case_name, each)
        report(case, measured)
        if not options.sweep:
            print_bars(case, measured)


if __name__ == "__main__":
    main(sys.argv[1:])
