"""Model folders: JSON values changed, weights cut, flipped, dropped and reshaped, files missing, odd modules."""

import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.attack.case import ODD, Case, Must, odd
from tests.attack.recipes import leaves
from tests.attack.tables import vectors
from tests.attack.world import World

_COUNT = 12
# Without these it is not a model.
_NEEDED = {"config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"}


def models(rng: Random, world: World, folder: Path) -> Case:
    """`mtext encode` (if it is taken, every vector is finite and of length 1)."""
    model = folder / "model"
    shutil.copytree(world.model, model)
    way = rng.choice((_json, _json, _json, _weights, _weights_file, _files, _modules))
    what, must = way(rng, model)
    shutil.copy(world.home / "few.txt", folder / "few.txt")
    encode = ["encode", "model", "few.txt", "--out", "o"]
    return Case(what, [encode], must, lambda last: _sound(folder / "o"), outputs=["o"], doctor="model")


def _sound(folder: Path) -> str | None:
    found = vectors(folder)
    if len(found) != _COUNT or not np.isfinite(found).all():
        return f"{len(found)} vectors, finite: {np.isfinite(found).all()}"
    off = float(np.abs(np.linalg.norm(found, axis=1) - 1).max())
    if off > 1e-4:
        return f"vectors whose length is not 1, off by {off:.1g}"
    return "unlike texts have one vector" if np.abs(found - found[0]).max() == 0 else None


def _json(rng: Random, model: Path) -> tuple[str, Must]:
    """A value of one of its JSON files."""
    file = rng.choice(sorted(model.rglob("*.json")))
    name = str(file.relative_to(model))
    content = json.loads(file.read_text())
    if rng.random() < 0.1:
        return _json_text(rng, file, name)
    place, key, old = rng.choice([one for one in leaves(content)][:200])
    new = odd(rng)
    place[key] = new
    file.write_text(json.dumps(content))
    sizes = {"hidden_size", "vocab_size", "num_attention_heads", "intermediate_size", "num_hidden_layers"}
    wrong = key in sizes and (not isinstance(new, int) or isinstance(new, bool) or new < 1)
    return f"{name}: {key} from {str(old)[:20]!r} to {str(new)[:20]!r}", "refuse" if wrong else "any"


def _json_text(rng: Random, file: Path, name: str) -> tuple[str, Must]:
    ways: list[tuple[str, bytes, Must]] = [
        ("nested deeply", b"[" * 100_000 + b"]" * 100_000, "refuse"),
        ("mappings nested deeply", b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "refuse"),
        ("empty", b"", "refuse"),
        ("noise", b"\xff" + rng.randbytes(50), "refuse"),
        ("half", file.read_bytes()[: file.stat().st_size // 2], "refuse"),
        ("null", b"null", "refuse"),
        ("a number", b"1" * 5000, "refuse"),
        ("a BOM before it", b"\xef\xbb\xbf" + file.read_bytes(), "any"),
    ]
    what, content, must = rng.choice(ways)
    file.write_bytes(content)
    return f"{name}: {what}", must


def _weights(rng: Random, model: Path) -> tuple[str, Must]:
    import torch
    from safetensors.torch import load_file, save_file

    file = model / "model.safetensors"
    way = rng.choice(("layers", "one", "shape", "nan", "half", "pickle", "names", "empty"))
    tensors = load_file(file)
    some = rng.choice([name for name in tensors if not name.startswith("pooler")])
    words = "embeddings.word_embeddings.weight"
    if way == "pickle":
        torch.save(tensors, model / "pytorch_model.bin")
        file.unlink()
        return "weights: a pickle only", "refuse"
    made = {
        "layers": lambda: {name: tensor for name, tensor in tensors.items() if "encoder.layer" not in name},
        "one": lambda: {name: tensor for name, tensor in tensors.items() if name != some},
        "shape": lambda: tensors | {some: torch.zeros([size + 1 for size in tensors[some].shape])},
        "nan": lambda: tensors | {words: torch.full_like(tensors[words], float(rng.choice(("nan", "inf"))))},
        "half": lambda: {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()},
        "names": lambda: {f"x.{name}y": tensor for name, tensor in tensors.items()},
        "empty": dict,
    }
    save_file(made[way](), file, metadata={"format": "pt"})
    return f"weights: {way}", {"one": "any", "half": "accept"}.get(way, "refuse")


def _weights_file(rng: Random, model: Path) -> tuple[str, Must]:
    file = model / "model.safetensors"
    content = file.read_bytes()
    head = int.from_bytes(content[:8], "little")
    way = rng.choice(("cut", "header", "length"))
    if way == "cut":
        content = content[: rng.randrange(len(content) - 1)]
    elif way == "length":
        content = rng.choice((0, 1, 2**40, 2**63)).to_bytes(8, "little") + content[8:]
    else:
        place = rng.randrange(8, 8 + head)
        content = content[:place] + bytes([content[place] ^ (1 << rng.randrange(7))]) + content[place + 1 :]
    file.write_bytes(content)
    return f"weights: {way}", "any" if way == "header" else "refuse"


def _files(rng: Random, model: Path) -> tuple[str, Must]:
    file = rng.choice([one for one in sorted(model.rglob("*")) if one.is_file() and one.suffix != ".md"])
    name = str(file.relative_to(model))
    way = rng.choice(("missing", "a folder", "a loop", "a pipe", "a device"))
    file.unlink()
    if way == "a folder":
        file.mkdir()
    elif way == "a loop":
        file.symlink_to(file.name)
    elif way == "a pipe":
        os.mkfifo(file)
    elif way == "a device":
        file.symlink_to("/dev/zero")
    return f"{name}: {way}", "refuse" if name in _NEEDED else "any"


def _modules(rng: Random, model: Path) -> tuple[str, Must]:
    file = model / "modules.json"
    modules: Any = json.loads(file.read_text())
    prefix = modules[0]["type"].rpartition(".")[0]
    way = rng.choice(("no pooling", "only pooling", "empty", "unknown", "foreign", "twice", "turned", "type", "path"))
    must: Must = "refuse"
    if way == "no pooling":
        modules = [one for one in modules if not one["type"].endswith("Pooling")]
    elif way == "only pooling":
        modules = [one for one in modules if one["type"].endswith("Pooling")]
    elif way == "empty":
        modules = []
    elif way == "unknown":
        modules[1]["type"] = f"{prefix}.Nothing"
    elif way == "foreign":
        modules[1]["type"] = rng.choice(("os.system", "subprocess.Popen", "x", "", ".", "..", "a.b.c.d"))
    elif way == "twice":
        modules, must = [*modules[:2], modules[1], *modules[2:]], "any"
    elif way == "turned":
        modules.reverse()
    elif way == "type":
        rng.choice(modules)["type"] = rng.choice([value for value in ODD if not isinstance(value, str)])
    else:
        rng.choice(modules)["path"], must = (
            rng.choice(("../..", "/etc", "nowhere", "\0", "1_Pooling/../..", None)),
            "any",
        )
    file.write_text(json.dumps(modules))
    return f"modules.json: {way}", must
