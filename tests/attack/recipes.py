"""Recipes: keys, types and extremes changed, and YAML's tricks."""

import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.attack.case import Case, Must, odd
from tests.attack.world import World

# Large values of these are long work and no fault.
_LONG = {"steps", "epochs", "texts", "rank", "every", "max_length", "size", "chunk", "tokens", "accumulate", "batch"}
_TEXTS = {"name", "kind", "file", "model"}


def recipes(rng: Random, world: World, folder: Path) -> Case:
    """`mtext check`; if it is content a dry run, and if that is too and no length was changed, the training."""
    name = rng.choice(world.names())
    values = world.recipe(name)
    if rng.random() < 0.25:
        what, content, must = _trick(rng, values)
        long = True
    else:
        what, must, long = _changed(rng, values)
        content = _text(values).encode("utf-8", "surrogatepass")
    (folder / "recipe.yaml").write_bytes(content)
    commands = [["check", "recipe.yaml"], ["train", "recipe.yaml", "--dry-run"]]
    if not long:
        commands.append(["train", "recipe.yaml", "--out", "run"])
    # Every fifth, since the machine is looked at too.
    doctor = "recipe.yaml" if sum(content) % 5 == 0 else None
    return Case(f"{name}: {what}", commands, must, late=True, doctor=doctor)


def _changed(rng: Random, values: dict[str, Any]) -> tuple[str, Must, bool]:
    """One to three values replaced; a meaningless one is enough to refuse all."""
    must: Must = "any"
    told, long = [], False
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.15:
            section = rng.choice([part for part in _sections(values)])
            key = rng.choice(("stepss", "x", "", "a.b", "é", "k" * 300))
            section[key] = odd(rng)
            told.append(f"unknown key {key[:10]!r}")
            must = "refuse"
            continue
        place, key, old = rng.choice(list(leaves(values)))
        new = odd(rng)
        place[key] = new
        told.append(f"{key} from {str(old)[:20]!r} to {str(new)[:30]!r}")
        long = long or key in _LONG
        if _is_meaningless(key, old, new):
            must = "refuse"
    return "; ".join(told), must, long


def _is_meaningless(key: Any, old: Any, new: Any) -> bool:
    if isinstance(old, int | float) and not isinstance(old, bool):
        is_word = key in ("temperature", "learning_rate") and isinstance(new, str)
        return isinstance(new, bool | str | dict) or (isinstance(new, float) and not math.isfinite(new)) or is_word
    return key in _TEXTS and not isinstance(new, str)


def _sections(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _sections(part)
    elif isinstance(value, list):
        for part in value:
            yield from _sections(part)


def leaves(value: Any) -> Iterator[tuple[Any, Any, Any]]:
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key, part
        if isinstance(part, dict | list):
            yield from leaves(part)


def _text(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _trick(rng: Random, values: dict[str, Any]) -> tuple[str, bytes, Must]:
    text = _text(values)
    deep = rng.choice((50, 500, 20_000))
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, rng.randint(6, 12))
    )
    tricks: list[tuple[str, str | bytes, Must]] = [
        ("alias bomb", text + bomb, "refuse"),
        ("mapping bomb", text + bomb.replace("[x, x]", "{k: v}"), "refuse"),
        (f"lists {deep} deep", text + f"x: {'[' * deep}{']' * deep}\n", "refuse"),
        (f"mappings {deep} deep", text + f"x: {'{a: ' * deep}1{'}' * deep}\n", "refuse"),
        (f"{deep} open brackets", text + "x: " + "[" * deep, "refuse"),
        ("huge key", text + "k" * 10**6 + ": 1\n", "refuse"),
        ("huge value", text + f"x: {'v' * 10**6}\n", "refuse"),
        ("many keys", text + "".join(f"k{i}: 1\n" for i in range(50_000)), "refuse"),
        ("a key twice", text + "name: again\n", "refuse"),
        ("a tag", text + "x: !!python/object/apply:os.system [echo]\n", "refuse"),
        ("a tag on a number", text.replace("seed: 1", "seed: !!binary MQ=="), "refuse"),
        ("an alias to itself", text + "x: &x [*x]\n", "refuse"),
        ("a merge key", text.replace("batch:", "batch: &b", 1) + "<<: *b\n", "refuse"),
        ("two documents", text + "---\n" + text, "refuse"),
        ("a tab", text + "\tx: 1\n", "refuse"),
        ("nothing", "", "refuse"),
        ("a list", "- 1\n", "refuse"),
        ("NUL", text + "x: \0\n", "refuse"),
        ("huge number", text.replace("seed: 1", "seed: " + "9" * 5000), "refuse"),
        ("huge exponent", text.replace("weight_decay: 0.01", "weight_decay: 1e99999999999"), "refuse"),
        ("octal", text.replace("seed: 1", "seed: 0o17"), "refuse"),
        ("sixty", text.replace("seed: 1", "seed: 1:30"), "refuse"),
        ("UTF-16", text.encode("utf-16"), "refuse"),
        ("latin-1", (text + "# é\n").encode("latin-1"), "refuse"),
        ("BOM", b"\xef\xbb\xbf" + text.encode(), "accept"),
        ("CRLF", text.replace("\n", "\r\n"), "accept"),
        ("comments", "# one\n" + text.replace("\n", "  # c\n", 3), "accept"),
        ("JSON", yaml.safe_dump(values, default_flow_style=True, width=10**6), "accept"),
        ("half a file", text[: rng.randrange(len(text))], "any"),
        ("noise", rng.randbytes(rng.randint(1, 400)), "refuse"),
    ]
    what, content, must = rng.choice(tricks)
    return what, content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content, must
