"""Before a variant of benchmarks/nested_loss.py is timed: whether it fits, runs, and is right."""

from pathlib import Path

import torch
from nested_variants import ONE_DIM, OURS, Case, Unavailable, bytes_needed, make_variant, plain_loss, step
from torch import Tensor

# Where the float64 loop over everything does not fit, it is formed over this many rows and columns.
CHECKED = 2048
EXACT = 1e-5
# Of others in half precision, whose gradients come back rounded to it: more than this is another loss.
COARSE = 0.1

Exact = tuple[Tensor, tuple[Tensor, ...]]


def free_memory(device: str) -> int:
    """Bytes that can still be taken."""
    if device != "cpu":
        return int(torch.cuda.mem_get_info()[0])
    info = Path("/proc/meminfo")
    if not info.exists():
        return 8 * 2**30
    return next(int(line.split()[1]) * 2**10 for line in info.read_text().splitlines() if line.startswith("MemAvail"))


def drop_what_does_not_fit(case: Case, names: list[str], missing: dict[str, str]) -> None:
    """Move variants that would take more memory than is free from `names` to `missing`, with the reason."""
    free = free_memory(case.query.device.type)
    for name in list(names):
        needed = bytes_needed(name, case)
        if needed > 0.8 * free:
            missing[name] = f"would take about {needed / 2**30:.1f} GiB of {free / 2**30:.1f} that are free"
            names.remove(name)


def errors_of(name: str, case: Case, exact: Exact) -> list[float]:
    """Relative errors of a variant's value and of the gradient of each leaf that it has one for."""
    value, gradients = exact
    found = [float(abs(step(make_variant(name, case), case).double() - value) / value)]
    for leaf, gradient in zip(case.leaves, gradients, strict=True):
        if leaf.grad is not None:
            found.append(float((leaf.grad.double() - gradient).norm() / gradient.norm()))
    return found


def exact_losses(case: Case) -> dict[tuple[int, ...], Exact]:
    """The float64 loop's value and gradients, for all dims and for the last only."""
    exact = case.first(*case.sizes[:2], torch.float64)
    found: dict[tuple[int, ...], Exact] = {}
    for dims in (case.dims, case.dims[-1:]):
        total = plain_loss(*exact.leaves[:2], exact.target, exact.bias, dims).double()
        found[dims] = total.detach(), torch.autograd.grad(total, exact.leaves)
    return found


def check(case: Case, names: list[str], missing: dict[str, str]) -> None:
    """Move what is wrong or does not run from `names` to `missing`. SystemExit if it is one of ours."""
    b, n, _ = case.sizes
    if 8 * (len(case.dims) + 3) * b * n > 0.8 * free_memory(case.query.device.type):
        print(f"  compared on the first {CHECKED} rows: the float64 loop over all does not fit")
        case = case.first(CHECKED, CHECKED if case.bias is None else 2 * CHECKED)
    exact, half = exact_losses(case), case.query.element_size() == 2
    allowed = max(errors_of("loop", case, exact[case.dims])) if half else EXACT
    for name in list(names):
        dims = case.dims[-1:] if name in ONE_DIM else case.dims
        reason = why_not(name, case, exact[dims], allowed if name in OURS else COARSE if half else EXACT)
        if reason is None:
            continue
        if name in OURS:
            raise SystemExit(f"{name}: {reason}")
        print(f"  {name}: {reason}")
        missing[name] = reason
        names.remove(name)


def why_not(name: str, case: Case, exact: Exact, allowed: float) -> str | None:
    """Why a variant cannot be measured; None if it runs and is right."""
    try:
        errors = errors_of(name, case, exact)
    except Unavailable as error:
        return str(error)
    except Exception as error:  # a compiler or a kernel's limits: the other variants are measured all the same
        return f"failed: {type(error).__name__}: {str(error).strip().splitlines()[0][:150] if str(error) else ''}"
    if not max(errors) <= allowed:
        return f"wrong: off by {max(errors):.1e}; allowed is {allowed:.1e}"
    shown = ", ".join(f"{error:.1e}" for error in errors)
    print(f"  {name}: relative error of value and gradients against float64: {shown}")
    return None
