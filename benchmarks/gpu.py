"""The kernels' tests and the open GPU bars, each step a process with a share of the time; see benchmarks/gpu.sh.

    python benchmarks/gpu.py OUT                       everything, in order of importance, within --seconds
    python benchmarks/gpu.py OUT --steps kernels,infonce
    python benchmarks/gpu.py OUT --tiny                tiny sizes on a CPU, the kernels in Triton's interpreter

results.json: machine, and for each step its command, seconds, status and the tables and bars that it printed. table.md:
the same in short, the bars first. log.txt: all that was printed. All three are written anew after each step. Where a
model is needed, one of MiniLM's size with random weights is made: speed and memory do not depend on the weights.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpu_steps import STEPS, Step

HERE = Path(__file__).resolve().parent
# Less than this is not worth starting a step for.
LEAST = 20.0


@dataclass
class Result:
    """What came of a step. `status`: ok, failed, out of time, or skipped with the reason."""

    name: str
    what: str
    command: str
    status: str
    seconds: float = 0.0
    bars: list[str] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    said: str = ""


def unpack_missing(wheels: Path, to: Path) -> list[str]:
    """Unpack into `to` those wheels whose package is not installed; their file names.

    A wheel is a zip of what goes into site-packages, so neither pip nor a network is needed.
    """
    taken = []
    for wheel in sorted(wheels.glob("*.whl")):
        try:
            version(wheel.name.split("-")[0].replace("_", "-"))
        except PackageNotFoundError:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(to)
            taken.append(wheel.name)
    return taken


def make_model(folder: Path, *, tiny: bool) -> Path:
    """A BERT with random weights, of MiniLM's size or tiny, and a tokenizer of the words in the repository's texts."""
    import gzip
    from collections import Counter

    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    from matryoshka_text.encoder import MatryoshkaEncoder

    with gzip.open(HERE.parent / "recipes" / "data" / "text" / "train.txt.gz", "rt", encoding="utf-8") as file:
        counts = Counter(re.findall(r"\w+|[^\w\s]", file.read().lower()))
    size = 1000 if tiny else 30522
    letters = [part for code in range(97, 123) for part in (chr(code), f"##{chr(code)}")]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(word for word, _ in counts.most_common())]
    words = list(dict.fromkeys(words))[:size]
    words += [f"[unused{number}]" for number in range(size - len(words))]
    width, layers, heads = (32, 2, 2) if tiny else (384, 6, 12)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=512,
    )
    BertModel(config).save_pretrained(folder / "bert")
    vocabulary = {word: place for place, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary, model_max_length=256).save_pretrained(folder / "bert")
    MatryoshkaEncoder(folder / "bert", device="cpu").save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def tables_in(text: str) -> list[dict[str, Any]]:
    """The Markdown tables of a benchmark's output, each as its head and its rows."""
    found: list[dict[str, Any]] = []
    lines = text.splitlines()
    for place, line in enumerate(lines):
        if set(line) <= set("| -") and "---" in line and place:
            rows = []
            for row in lines[place + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append(_cells(row))
            found.append({"head": _cells(lines[place - 1]), "rows": rows})
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def bars_in(text: str) -> list[str]:
    """The lines of a benchmark's output that say what a ratio is against its bar."""
    lines = [line.strip() for line in text.splitlines() if not line.startswith("|")]
    return [line for line in lines if "no bar was set" in line or re.search(r"\bbar\b.* [<>]= ", line)]


def command_of(step: Step, base: Path | None, *, tiny: bool) -> list[str]:
    """The step's command line; a later option wins over an earlier one."""
    words = [*step.words.split(), *(step.tiny.split() if tiny else ())]
    words = [str(base) if word == "BASE" else word for word in words]
    script = [] if words[0] == "-m" else [str(HERE / words.pop(0))]
    return [sys.executable, *script, *words]


def run(step: Step, command: Sequence[str], seconds: float, environment: dict[str, str]) -> Result:
    """The step, ended with all its processes once its time is over."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=HERE.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
        status = "ok" if process.returncode == 0 else f"failed with exit status {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        status = f"out of time after {seconds:.0f} s"
    taken = round(time.perf_counter() - start, 1)
    return Result(
        name=step.name,
        what=step.what,
        command=" ".join(command[1:]),
        status=status,
        seconds=taken,
        bars=bars_in(said),
        tables=tables_in(said),
        said=said,
    )


def write(out: Path, machine: dict[str, Any], results: Sequence[Result]) -> None:
    """results.json, table.md and log.txt of the steps so far."""
    steps = [{key: value for key, value in asdict(one).items() if key != "said"} for one in results]
    (out / "results.json").write_text(json.dumps({"machine": machine, "steps": steps}, indent=2) + "\n")
    lines = ["| step | what | status | seconds |", "| --- | --- | --- | --- |"]
    lines += [f"| {one.name} | {one.what} | {one.status} | {one.seconds} |" for one in results]
    lines += ["", *(f"- {one.name}: {bar}" for one in results for bar in one.bars)]
    for one in results:
        for table in one.tables:
            rows = [table["head"], ["---"] * len(table["head"]), *table["rows"]]
            lines += ["", f"## {one.name}", "", *(f"| {' | '.join(row)} |" for row in rows)]
    said = [f"# {', '.join(f'{key} {value}' for key, value in machine.items())}", "", *lines]
    (out / "table.md").write_text("\n".join(said) + "\n")
    (out / "log.txt").write_text("".join(f"$ {one.command}\n{one.said}\n[{one.status}]\n\n" for one in results))


def describe(*, tiny: bool) -> dict[str, Any]:
    """GPU, Python and the versions that a result depends on."""
    import torch
    from measure import PACKAGES, commit, processor

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
    device = processor() if tiny or not torch.cuda.is_available() else torch.cuda.get_device_name()
    return {"device": device, "python": sys.version.split()[0], "commit": commit(), **versions}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [step.name for step in STEPS]
    parser.add_argument("out", type=Path, help="folder for results.json, table.md and log.txt")
    parser.add_argument("--wheels", type=Path, help="folder of wheels; those of missing packages are used")
    parser.add_argument("--steps", default=",".join(names), help="some of them, with commas")
    parser.add_argument("--seconds", type=float, default=570.0, help="of everything")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes on a CPU")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.steps.split(",")) - set(names))
    if unknown:
        parser.error(f"--steps: found {', '.join(unknown)}; allowed: {', '.join(names)}")
    return options


def main(arguments: Sequence[str]) -> int:
    """Run the steps that are asked for and fit into the time; 1 if one of them failed."""
    options, end = parse(arguments), time.perf_counter()
    end += options.seconds
    options.out.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as name:
        site = Path(name) / "site"
        if options.wheels:
            print("used of the wheels:", ", ".join(unpack_missing(options.wheels, site)) or "none", flush=True)
            sys.path.append(str(site))
        environment = {**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', HERE.parent / 'src')}:{site}"}
        environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"} if options.tiny else {"TRITON_INTERPRET": "0"}
        machine, base, fault = describe(tiny=options.tiny), None, ""
        for step in (step for step in STEPS if step.name in options.steps.split(",")):
            if step.needs_model and base is None and not fault:
                try:
                    base = make_model(Path(name), tiny=options.tiny)
                except ImportError as error:
                    fault = f"skipped: {error}"
            left = end - time.perf_counter()
            command = command_of(step, base, tiny=options.tiny)
            reason = fault if step.needs_model and fault else "" if left >= LEAST else "skipped: no time left"
            if reason:
                results.append(Result(step.name, step.what, " ".join(command[1:]), reason))
            else:
                results.append(run(step, command, left if options.tiny else min(step.most, left), environment))
            write(options.out, machine, results)
            done = results[-1]
            print(f"{done.name}: {done.status}, {done.seconds} s", *done.bars, sep="\n  ", flush=True)
    return int(any(one.status.startswith("failed") for one in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
