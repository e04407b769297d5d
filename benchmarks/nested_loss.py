"""Time and peak memory of the nested cross-entropy, forward and backward, against what it replaces, in one run.

    python benchmarks/nested_loss.py                    both cases of the table in benchmarks/README.md
    python benchmarks/nested_loss.py --case infonce --batch 1024 --width 384 --dims 12,48,384
    python benchmarks/nested_loss.py --device cuda --dtype bfloat16

The variants: the plain loss at full width only; the autograd loop over the dims; sentence-transformers' MatryoshkaLoss
over MultipleNegativesRankingLoss on the same tensors (a stub stands in for the encoder: only the loss is timed); ours.
Value and gradients are compared before anything is timed. Repetitions are interleaved, so that a disturbance hits all
variants alike. On a CPU each variant's memory is the peak resident size of a process of its own less its size before
the first step (Linux resets the peak there; elsewhere it is the growth of the peak); on a GPU it is
torch.cuda.max_memory_allocated less what was allocated before. Gradients count, inputs do not.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matryoshka_text.nested import nested_cross_entropy

VARIANTS = {
    "plain": "one dim, full width",
    "loop": "autograd loop",
    "sentence-transformers": "MatryoshkaLoss(MultipleNegativesRanking)",
    "ours": "nested_cross_entropy",
}
SCALE = 20.0
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Case:
    """The tensors of a case; `bias` marks the masked-language model, which reads raw prefixes."""

    dims: tuple[int, ...]
    query: Tensor
    candidate: Tensor
    target: Tensor
    bias: Tensor | None

    @property
    def leaves(self) -> list[Tensor]:
        """The tensors that get a gradient."""
        return [leaf for leaf in (self.query, self.candidate, self.bias) if leaf is not None]


def make_case(name: str, options: argparse.Namespace) -> Case:
    """Random tensors of the sizes asked for, the same in every process."""
    settings = {"device": options.device, "dtype": getattr(torch, options.dtype)}
    torch.manual_seed(0)
    if name == "infonce":
        b, n, width, dims = options.batch, options.batch, options.width, options.dims
    else:
        b, n, width, dims = options.mlm_rows, options.vocabulary, options.mlm_width, options.mlm_dims
    # Rows of the vocabulary matrix are short in real models: logits of a few units, not of hundreds.
    query, candidate = torch.randn(b, width), torch.randn(n, width) * (1.0 if name == "infonce" else 0.05)
    target = torch.arange(b) if name == "infonce" else torch.randint(0, n, (b,))
    bias = None if name == "infonce" else torch.zeros(n)
    query, candidate, bias = (
        None if v is None else v.to(**settings).requires_grad_() for v in (query, candidate, bias)
    )
    return Case(dims, query, candidate, target.to(options.device), bias)


def one_dim(case: Case, dim: int) -> Tensor:
    """The loss at one dim, as a user would write it."""
    rows, columns = case.query[:, :dim], case.candidate[:, :dim]
    if case.bias is None:
        return F.cross_entropy(SCALE * F.normalize(rows) @ F.normalize(columns).T, case.target)
    return F.cross_entropy(rows @ columns.T + case.bias, case.target)


class Stub(nn.Module):
    """An encoder whose embeddings are the tensors it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def get_embedding_dimension(self) -> int:
        """The width of the embeddings."""
        return self.width

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The embedding that came in as a feature."""
        return {"sentence_embedding": features["embedding"]}


def sentence_transformers_loss(case: Case) -> Callable[[], Tensor]:
    """MatryoshkaLoss over MultipleNegativesRankingLoss on the case's tensors."""
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

    model = Stub(case.query.shape[1])
    loss = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model, scale=SCALE), list(case.dims))
    features = [{"embedding": case.query}, {"embedding": case.candidate}]
    return lambda: loss([dict(feature) for feature in features], None)


def make_variant(name: str, case: Case) -> Callable[[], Tensor]:
    """A function that forms the loss once."""
    if name == "plain":
        return lambda: one_dim(case, case.query.shape[1])
    if name == "loop":
        return lambda: sum(one_dim(case, dim) for dim in case.dims)
    if name == "sentence-transformers":
        return sentence_transformers_loss(case)
    unit = case.bias is None
    return lambda: (
        nested_cross_entropy(
            case.query, case.candidate, case.target, dims=case.dims, normalize=unit, bias=case.bias
        ).total
    )


def variants_of(case: Case) -> list[str]:
    """The names that apply: sentence-transformers has no masked-language model."""
    return [name for name in VARIANTS if case.bias is None or name != "sentence-transformers"]


def step(loss: Callable[[], Tensor], case: Case) -> Tensor:
    """The loss's value, after a backward pass whose gradients lie in the leaves."""
    for leaf in case.leaves:
        leaf.grad = None
    total = loss()
    total.backward()
    if total.is_cuda:
        torch.cuda.synchronize()
    return total.detach()


def check(case: Case) -> None:
    """Nothing; SystemExit where ours and the loops differ in value or gradient."""
    exact_leaves = [leaf.detach().double().requires_grad_() for leaf in case.leaves]
    exact_case = Case(case.dims, *exact_leaves[:2], case.target, exact_leaves[2] if case.bias is not None else None)
    exact = step(make_variant("loop", exact_case), exact_case)
    tolerance = 1e-5 if case.query.dtype == torch.float32 else 3e-2
    for name in variants_of(case)[1:]:
        value = step(make_variant(name, case), case)
        errors = [float(abs(value.double() - exact) / exact)]
        for leaf, exact_leaf in zip(case.leaves, exact_leaves, strict=True):
            errors.append(float((leaf.grad.double() - exact_leaf.grad).norm() / exact_leaf.grad.norm()))
        shown = ", ".join(f"{error:.1e}" for error in errors)
        print(f"  {name}: relative error of value and gradients against float64: {shown}")
        if max(errors) > tolerance:
            sys.exit(f"{name} is off by {max(errors):.1e}; allowed is {tolerance:.0e}")


def time_all(case: Case, seconds: float) -> dict[str, list[float]]:
    """Seconds of each repetition of each variant, interleaved until `seconds` have passed, at least 5 of each."""
    steps = {name: make_variant(name, case) for name in variants_of(case)}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for loss in steps.values():
        step(loss, case)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken["plain"]) < 5:
        for name, loss in steps.items():
            start = time.perf_counter()
            step(loss, case)
            taken[name].append(time.perf_counter() - start)
    return taken


def resident_peak() -> float:
    """The largest resident size of this process since the last `reset_resident_peak`, in MiB."""
    if STATUS.exists():
        # Not ru_maxrss: Linux hands a parent's peak down to the process it starts.
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def reset_resident_peak() -> None:
    """Nothing; brings the peak down to the present size, where the system can (Linux, see proc_pid_clear_refs)."""
    if CLEAR.exists():
        CLEAR.write_text("5")


def warm_libraries(case: Case) -> None:
    """Nothing; makes the thread pools and kernels come up before the baseline is read, on a hundredth of the data."""
    rows = max(2, len(case.query) // 100)
    columns = max(2, len(case.candidate) // 100)
    leaves = [v.detach()[:size].clone().requires_grad_() for v, size in ((case.query, rows), (case.candidate, columns))]
    bias = None if case.bias is None else case.bias.detach()[:columns].clone().requires_grad_()
    small = Case(case.dims, *leaves, case.target[:rows] % columns, bias)
    for name in variants_of(small):
        step(make_variant(name, small), small)


def measure_memory(name: str, case: Case) -> float:
    """MiB that two steps of a variant add at their peak, gradients included, inputs not."""
    warm_libraries(case)
    loss = make_variant(name, case)
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


def memory_in_own_process(name: str, case_name: str, arguments: list[str]) -> float:
    """MiB, measured in a fresh process: a peak can only be read once."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--memory-of", f"{case_name}:{name}"]
    return float(
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    )


def report(case: Case, taken: dict[str, list[float]], memory: dict[str, float]) -> None:
    """Nothing; prints one row a variant as a Markdown table."""
    least = {name: min(times) for name, times in taken.items()}
    middle = {name: statistics.median(times) for name, times in taken.items()}
    print(f"\n{len(taken['plain'])} interleaved repetitions; ratios of the median (of the minimum)\n")
    print("| variant | median s | min s | x plain | x loop | peak MiB | memory x loop |")
    print("|---|---|---|---|---|---|---|")
    for name in variants_of(case):
        ratios = [f"{middle[name] / middle[base]:.2f} ({least[name] / least[base]:.2f})" for base in ("plain", "loop")]
        numbers = [f"{middle[name]:.3f}", f"{least[name]:.3f}", *ratios]
        print(
            f"| {VARIANTS[name]} | {' | '.join(numbers)} | {memory[name]:.0f} | {memory[name] / memory['loop']:.2f} |"
        )


def processor() -> str:
    """The model name of the processor, as the system gives it."""
    table = Path("/proc/cpuinfo")
    if not table.exists():
        return platform.processor() or platform.machine()
    found = {key.strip(): value.strip() for key, _, value in (s.partition(":") for s in table.read_text().splitlines())}
    return (
        f"{found.get('model name', platform.machine())}, family {found.get('cpu family')}, model {found.get('model')}"
    )


def whole_numbers(text: str) -> tuple[int, ...]:
    """Numbers separated by commas."""
    return tuple(int(part) for part in text.split(","))


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; without arguments, the two cases of benchmarks/README.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=("infonce", "mlm", "all"), default="all")
    parser.add_argument("--batch", type=int, default=2048, help="pairs of the InfoNCE case")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--dims", type=whole_numbers, default=(12, 24, 48, 96, 192, 384, 768))
    parser.add_argument("--mlm-rows", type=int, default=512, help="masked tokens")
    parser.add_argument("--vocabulary", type=int, default=30522)
    parser.add_argument("--mlm-width", type=int, default=384)
    parser.add_argument("--mlm-dims", type=whole_numbers, default=(12, 24, 48, 96, 192, 384))
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--seconds", type=float, default=30.0, help="of timing for each case")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Nothing; prints the environment and, for each case, the check and the table."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    if options.memory_of:
        case_name, _, name = options.memory_of.partition(":")
        print(json.dumps(measure_memory(name, make_case(case_name, options))))
        return
    import sentence_transformers

    where = processor() if options.device == "cpu" else torch.cuda.get_device_name()
    print(f"{where}; torch {torch.__version__}, {options.threads} threads; {options.dtype}; ", end="")
    print(f"sentence-transformers {sentence_transformers.__version__}; load average {os.getloadavg()[0]:.2f}")
    for case_name in ("infonce", "mlm") if options.case == "all" else (options.case,):
        case = make_case(case_name, options)
        (b, width), n = case.query.shape, len(case.candidate)
        print(f"\n{case_name}: {b} rows, {n} columns, width {width}, dims {', '.join(map(str, case.dims))}")
        check(case)
        memory = {name: memory_in_own_process(name, case_name, arguments) for name in variants_of(case)}
        report(case, time_all(case, options.seconds), memory)
        print(f"\nload average at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
