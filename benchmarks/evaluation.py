"""CPU seconds of `mtext eval` at six dims, against mteb's own run at full width and at each of the six, in one run.

    python benchmarks/evaluation.py --data-root DIR     one task of each of six types, all-MiniLM-L6-v2 as packaged
    python benchmarks/evaluation.py --data-root DIR --tasks STSBenchmark,squad_a --dims 24,96,384
    python benchmarks/evaluation.py                     the bundled suite `quick` only

Every run is a process of its own that starts with nothing: no vectors, no results, data sets read once before (both
sides then find them in the cache of `datasets`). mteb's run is `mteb.evaluate` on a plain SentenceTransformer with
`truncate_dim`, on mteb's unmodified task classes (own sets: mteb's abstract classes over the same rows). Ours is
`evaluate(raw_prefix=True)`, because mteb does not bring prefixes back to length 1; every score must be within 0.01
points of mteb's before a ratio is printed. CPU time is user and system time of the process: `run` from the imports on,
`whole` with the start of Python and all imports.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from measure import machine, table

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DIMS = (12, 24, 48, 96, 192, 384)
SAME = 0.01
BARS = {"one": 1.15, "six": 0.20}
# One of each type that the bar names.
TASKS: tuple[dict[str, Any], ...] = (
    {"task": "STSBenchmark"},
    {"task": "Banking77Classification"},
    {"clustering": "stackoverflow_clusters"},
    {"pair_classification": "snli_test", "positive": "entailment"},
    {"reranking": "trecqa"},
    {"retrieval": "squad_a"},
)


def suite(asked: argparse.Namespace) -> Any:
    """The suite of the tasks asked for."""
    from matryoshka_text.suite import Suite, TaskEntry, load_suite

    if not asked.data_root:
        return load_suite("quick")
    entries = [TaskEntry.model_validate(one) for one in TASKS]
    if asked.tasks:
        entries = [one for one in entries if one.name in asked.tasks.split(",")]
    return Suite(name="six_types", tasks=tuple(entries))


def planned(asked: argparse.Namespace, model: str | None) -> Any:
    """The plan; without a model only the tasks."""
    from matryoshka_text.evaluation.plan import plan_evaluation

    return plan_evaluation(model, suite(asked), dims=asked.dims, data_root=asked.data_root or None, raw_prefix=True)


def with_mteb(asked: argparse.Namespace) -> dict[str, float]:
    """Main scores x 100 of mteb at one dim, by task."""
    import mteb
    from sentence_transformers import SentenceTransformer

    from matryoshka_text.encoder import resolve_model
    from matryoshka_text.evaluation.mteb_compat import own_data_cache

    dim = asked.dims[0]
    cut = {} if dim == asked.width else {"truncate_dim": dim}
    model = SentenceTransformer(str(resolve_model(asked.model).path), device=asked.device, **cut)
    scores = {}
    for one in planned(asked, None).tasks:
        task = one.make()
        with own_data_cache(one.fingerprint):
            result = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
        scores[one.name] = 100 * float(result.task_results[0].get_score())
    return scores


def with_ours(asked: argparse.Namespace) -> dict[str, float]:
    """Our scores by task and dim, from one evaluation."""
    from matryoshka_text.evaluation.harness import run_plan

    with tempfile.TemporaryDirectory() as out:
        found = run_plan(planned(asked, asked.model), out=out, device=asked.device)
        found.require_success()
        return {f"{row.task}@{row.dim}": row.score for row in found.rows}


def child(asked: argparse.Namespace) -> None:
    """One side, here: its scores and CPU seconds on the last line of stdout."""
    import mteb  # noqa: F401
    import sentence_transformers  # noqa: F401

    import matryoshka_text.evaluation  # noqa: F401

    started = time.process_time()
    scores = with_mteb(asked) if asked.side == "mteb" else with_ours(asked)
    ended = time.process_time()
    sys.stdout.write("\n" + json.dumps({"run": ended - started, "whole": ended, "scores": scores}) + "\n")


def run(asked: argparse.Namespace, side: str, dims: tuple[int, ...]) -> dict[str, Any]:
    """The side's scores and seconds, from a process of its own."""
    words = [sys.executable, __file__, "--side", side, "--dims", ",".join(map(str, dims)), "--model", asked.model]
    words += ["--device", asked.device, "--data-root", asked.data_root, "--tasks", asked.tasks or ""]
    words += ["--width", str(asked.width)]
    surroundings = {**os.environ, "OMP_NUM_THREADS": str(asked.threads), "PYTHONWARNINGS": "ignore"}
    surroundings.pop("MTEXT_VECTOR_STORE", None)
    done = subprocess.run(words, env=surroundings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} at {dims} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    sys.stderr.write(f"{side} at {', '.join(map(str, dims))}: {found['run']:.1f} CPU s\n")
    return found


def main() -> int:
    """Both sides, their scores and ratios; 1 where a score differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("MTEXT_DATA_ROOT", ""))
    parser.add_argument("--tasks", default="", help="some of the six, by name, with commas")
    parser.add_argument("--dims", default=",".join(map(str, DIMS)))
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of each process; CPU time grows when threads wait")
    parser.add_argument("--side", choices=("mteb", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.dims = tuple(int(dim) for dim in asked.dims.split(","))
    if asked.side:
        child(asked)
        return 0
    asked.width = planned(asked, asked.model).subjects[0].width
    dims = tuple(sorted({*asked.dims, asked.width}))
    ours = run(asked, "ours", dims)
    theirs = {dim: run(asked, "mteb", (dim,)) for dim in reversed(dims)}
    return report(dims, ours, theirs, asked)


def report(dims: tuple[int, ...], ours: dict[str, Any], theirs: dict[int, dict[str, Any]], asked: Any) -> int:
    """The tables on stdout; 1 where a score differs by more than 0.01 points."""
    names = list(theirs[dims[-1]]["scores"])
    gaps = {
        (name, dim): ours["scores"][f"{name}@{dim}"] - theirs[dim]["scores"][name] for name in names for dim in dims
    }
    worst = max(map(abs, gaps.values()))
    rows = [[name, *(f"{theirs[dim]['scores'][name]:.2f} ({gaps[name, dim]:+.4f})" for dim in dims)] for name in names]
    print(machine(asked.device), end="\n\n")
    print("mteb's scores x 100 (ours minus them)\n")
    print(table(["task", *map(str, dims)], rows), end="\n\n")
    if worst > SAME:
        print(f"a score differs by {worst:.4f} points, more than {SAME}: no ratio is worth printing")
        return 1
    full, every = theirs[dims[-1]], {kind: sum(one[kind] for one in theirs.values()) for kind in ("run", "whole")}
    lines = [
        [
            kind,
            f"{full[kind]:.1f}",
            f"{every[kind]:.1f}",
            f"{ours[kind]:.1f}",
            f"{ours[kind] / full[kind]:.2f}",
            f"{ours[kind] / every[kind]:.3f}",
        ]
        for kind in ("run", "whole")
    ]
    heads = ["CPU s", f"mteb at {dims[-1]}", f"mteb {len(dims)} times", f"ours, {len(dims)} dims"]
    print(table([*heads, "against one run", f"against {len(dims)} runs"], lines), end="\n\n")
    if dims == DIMS and len(names) == len(TASKS):
        met = [ours["run"] / full["run"] <= BARS["one"], ours["run"] / every["run"] <= BARS["six"]]
        print(f"bars: {BARS['one']} x one run {'met' if met[0] else 'MISSED'}, ", end="")
        print(f"{BARS['six']} x six runs {'met' if met[1] else 'MISSED'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
