"""A saved model's folder as data: every file that the libraries would read, read and checked before any of them does.

Needs no torch: `mtext check` asks here what opening the model would find.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from matryoshka_text.encoder.adapter import require_adapter
from matryoshka_text.encoder.agreement import require_agreement, require_dense
from matryoshka_text.encoder.families import ACTIVATIONS, BERT_FAMILY, DEFAULTS
from matryoshka_text.encoder.foreign import (
    WAY_OUT,
    FileFault,
    read_json,
    require_allowed,
    require_finite,
    require_regular,
    stored_shapes,
)
from matryoshka_text.encoder.resolve import Resolved, require_weights
from matryoshka_text.encoder.schema import MODULES, SCHEMAS, ModuleEntry, TransformersConfig
from matryoshka_text.errors import ModelError, shown

__all__ = ["ModelFolder", "SavedModule", "read_folder", "usable_dims", "width_of"]

log = logging.getLogger(__name__)

# sentence-transformers' modules that make one vector of a text, or hold those that do.
_POOLING = ("Pooling", "Router", "Asym", "CNN", "LSTM", "BoW")
_OTHERS = ("Transformer", "Normalize", "Dense", "LayerNorm", "Dropout", "WeightedLayerPooling", "WordWeights")


@dataclass(frozen=True)
class SavedModule:
    """One of sentence-transformers' modules: its class's name, its folder, and its settings (empty without a file)."""

    kind: str
    folder: Path
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class ModelFolder:
    """What the files of a saved model say.

    `home` is the folder of the transformers model: `path` itself, or a folder in it. Without `modules` it is no
    sentence-transformers model yet.
    """

    path: Path
    home: Path
    config: Mapping[str, Any]
    modules: tuple[SavedModule, ...]

    @property
    def width(self) -> int | None:
        """The width of the vectors that the model gives; None if its files do not say."""
        poolings = 1
        for module in reversed(self.modules):
            if width := module.settings.get("out_features"):
                return int(width)
            if module.kind == "Pooling":
                poolings = _poolings(module.settings)
        return self.hidden * poolings if self.hidden else None

    @property
    def hidden(self) -> int | None:
        """The width of the token states."""
        return self._number("hidden_size", "dim")

    @property
    def depth(self) -> int | None:
        """The number of transformer layers."""
        return self._number("num_hidden_layers", "n_layers")

    @property
    def matrix(self) -> int | None:
        """The width of the vocabulary matrix, in the families that give it one of its own."""
        return self._number("embedding_size")

    @property
    def last_dense(self) -> tuple[int, int] | None:
        """In and out of the Dense that the model ends in, before its Normalize; None if it does not end in one."""
        before = [module for module in self.modules if module.kind != "Normalize"]
        if not before or before[-1].kind != "Dense":
            return None
        return before[-1].settings["in_features"], before[-1].settings["out_features"]

    @property
    def ends_in_normalize(self) -> bool:
        """Whether its vectors have length 1."""
        return bool(self.modules) and self.modules[-1].kind == "Normalize"

    @property
    def prompts(self) -> dict[str, str]:
        """The model's prompts by name; {} if it names none."""
        return {name: words for name, words in (self._sentence.get("prompts") or {}).items() if isinstance(words, str)}

    @property
    def similarity(self) -> str:
        """What its vectors are compared with: cosine, dot, euclidean or manhattan."""
        return str(self._sentence.get("similarity_fn_name") or "cosine")

    @property
    def _sentence(self) -> Mapping[str, Any]:
        file = self.path / "config_sentence_transformers.json"
        found: Mapping[str, Any] = read_json(file) if file.is_file() else {}
        return found

    @property
    def own_reading(self) -> tuple[str, ...]:
        """Its settings under which `encode` makes other token ids of a text than its tokenizer, cut to a length."""
        files = (file for folder in (self.path, self.home) for file in folder.glob("sentence_*_config.json"))
        found = [read_json(file) for file in sorted(set(files))]
        words = [one.get("processing_kwargs") or {} for one in found]
        plain = all(
            set(one) <= {"text"} and set(one.get("text") or {}) <= {"max_length", "truncation"} for one in words
        )
        expanded = any(one.get("query_expansion") for one in found)
        return (*(["query_expansion"] if expanded else []), *([] if plain else ["processing_kwargs"]))

    @property
    def longest(self) -> int | None:
        """Tokens at which its file says that a text is cut."""
        file = self.home / "sentence_bert_config.json"
        return read_json(file).get("max_seq_length") if file.is_file() else None

    @property
    def has_routes(self) -> bool:
        """Whether it has other modules for queries than for documents: a Router (formerly Asym)."""
        return any(module.kind in ("Router", "Asym") for module in self.modules)

    @property
    def trained_dims(self) -> tuple[int, ...] | None:
        """`matryoshka_dimensions` as they can be used; None if there are none."""
        return usable_dims(self.config.get("matryoshka_dimensions"), self.width, str(self.path)) or None

    def _number(self, *keys: str) -> int | None:
        """The first of `keys` that the configuration has as a number."""
        return next((self.config[key] for key in keys if isinstance(self.config.get(key), int)), None)


def width_of(path: Path) -> int | None:
    """The width of the vectors that the model in `path` gives; None if its files do not say."""
    found = Resolved(path, "folder", str(path))
    return read_folder(found, trust_remote_code=True).width  # no code is run by reading


def read_folder(model: Resolved, *, trust_remote_code: bool = False) -> ModelFolder:
    """The files of `model`, checked; `ModelError`, naming model, file and key, for the first fault.

    Those of an adapter are its base's, but for the modules if the adapter was saved with some.

    Refused are files that are no regular files, broken or huge JSON, values that no encoder has, modules that
    sentence-transformers does not know (but not with `trust_remote_code`), a model without a pooling, weights that are
    damaged, pickled, not finite or of other shapes than config.json says, and a tokenizer with ids above the matrix.
    """
    path, name = model.path, model.name
    below = None if model.base is None else read_folder(model.base, trust_remote_code=trust_remote_code)
    try:
        require_regular(path)
        if below is not None:
            require_adapter(path, below.config, stored_shapes(below.home))
            if not (path / "modules.json").is_file():
                return below
        found = _read(path, trust_remote_code, below)
        require_weights(path, name)
        shapes = {folder: stored_shapes(folder) for folder in (found.home, *(one.folder for one in found.modules))}
        # Models that bring their code name their layers as they like; ALBERT's share one.
        told = found.config["model_type"] in BERT_FAMILY and found.config["model_type"] != "albert"
        for module in found.modules:
            if module.kind == "Dense":
                require_dense(module.folder, module.settings, shapes[module.folder])
        require_agreement(found.home, found.config, shapes[found.home], found.depth if told else None)
        for folder in shapes:
            require_finite(folder)
    except FileFault as fault:
        raise ModelError(f"{name}: cannot be opened: {fault}") from fault
    return found


def usable_dims(listed: Any, width: int | None, name: str) -> tuple[int, ...]:
    """Other people's `matryoshka_dimensions`: sorted, each once; a warning names what is left out."""
    given = listed if isinstance(listed, list) else [] if listed is None else [listed]
    numbers = [int(one) if isinstance(one, str) and one.isdecimal() and len(one) < 9 else one for one in given]
    usable = sorted({one for one in numbers if type(one) is int and 0 < one <= (width or one)})
    if dropped := [one for one in numbers if type(one) is not int or one not in usable]:
        log.warning(
            "%s: config.json has matryoshka_dimensions %s; %s left out: no whole number from 1 to %s",
            name,
            shown(listed),
            ", ".join(map(shown, dropped[:5])),
            width,
        )
    return tuple(usable)


def _read(path: Path, trust_remote_code: bool, below: ModelFolder | None) -> ModelFolder:
    modules = tuple(_modules(path, trust_remote_code)) if (path / "modules.json").is_file() else ()
    home = _home(path, modules) if below is None else below.home
    if (home / "adapter_config.json").is_file():
        # transformers would open the base that it names instead of the weights next to it.
        raise FileFault(
            f"{home}: found an adapter (adapter_config.json) next to a whole model; allowed: one of the two; remove "
            "adapter_config.json, or the model's weights"
        )
    config = read_json(home / "config.json")
    if not trust_remote_code and config.get("model_type") not in BERT_FAMILY:
        remote = " It brings Python code along (auto_map): --trust-remote-code runs it" if "auto_map" in config else ""
        raise FileFault(
            f"{home / 'config.json'}: found model_type {shown(config.get('model_type'))}, which is not a BERT-family "
            f"text encoder; allowed: {', '.join(BERT_FAMILY)}.{remote}"
        )
    require_allowed(home / "config.json", TransformersConfig, config)
    config = {**DEFAULTS.get(config["model_type"], {}), **config}
    for key in ("hidden_act", "activation", "hidden_activation"):
        if config["model_type"] in BERT_FAMILY and config.get(key) not in (None, *ACTIVATIONS):
            raise FileFault(
                f"{home / 'config.json'}: {key}: found {shown(config[key])}; allowed: "
                f"{', '.join(sorted(ACTIVATIONS))}; {WAY_OUT}"
            )
    for folder in dict.fromkeys([path, home, *(module.folder for module in modules)]):
        for pattern, schema in SCHEMAS.items():
            for file in sorted(folder.glob(pattern)):
                require_allowed(file, schema, read_json(file))
    return ModelFolder(path, home, config, modules)


def _modules(path: Path, trust_remote_code: bool) -> Iterator[SavedModule]:
    file = path / "modules.json"
    listed = read_json(file, list)
    for place, entry in enumerate(listed):
        require_allowed(f"{file}: [{place}]", ModuleEntry, entry)
        kind = entry["type"].rpartition(".")[2]
        ours = entry["type"].startswith("sentence_transformers.") and kind in (*_POOLING, *_OTHERS)
        if not ours and not trust_remote_code:
            raise FileFault(
                f"{file}: [{place}].type: found {shown(kind)}; allowed: sentence_transformers' "
                f"{', '.join((*_OTHERS, *_POOLING))}; give another model, or --trust-remote-code if it brings its code"
            )
        if PurePosixPath(entry["path"]).is_absolute() or ".." in PurePosixPath(entry["path"]).parts:
            raise FileFault(
                f"{file}: [{place}].path: found {shown(entry['path'])}; allowed: a folder inside the model's"
            )
        home = path / entry["path"]
        settings = home / "config.json"
        found = read_json(settings) if kind in MODULES and entry["path"] and settings.is_file() else {}
        if kind in MODULES and (found or kind == "Dense"):
            require_allowed(settings, MODULES[kind], found)
        if not trust_remote_code and not found.get("activation_function", "torch.").startswith("torch."):
            # sentence-transformers would take Tanh instead, and other vectors would come out.
            raise FileFault(
                f"{settings}: activation_function: found {shown(found['activation_function'])}; allowed: a class of "
                "torch.nn; give --trust-remote-code if you trust the model's code"
            )
        yield SavedModule(kind, home, found)
    kinds = [entry["type"].rpartition(".")[2] for entry in listed]
    if trust_remote_code:
        return
    if not kinds or kinds[0] not in ("Transformer", "Router", "Asym"):
        raise FileFault(
            f"{file}: found the modules {', '.join(kinds) or '(none)'}; allowed: a model that begins with a "
            "Transformer; give an embedding model"
        )
    if not set(kinds) & set(_POOLING) and not _pools_itself(path / listed[0]["path"]):
        raise FileFault(
            f"{file}: found the modules {', '.join(kinds)}, so it gives a vector for each token, and none for the "
            "whole text; allowed: a model that pools them; give an embedding model, or remove modules.json"
        )


def _pools_itself(transformer: Path) -> bool:
    """Whether the Transformer in that folder gives a vector of the whole text, as its backbone's pooler makes it."""
    file = transformer / "sentence_bert_config.json"
    return file.is_file() and read_json(file).get("module_output_name") == "sentence_embedding"


def _home(path: Path, modules: tuple[SavedModule, ...]) -> Path:
    """The folder of the transformers model: old sentence-transformers models have 0_Transformer/, Routers others."""
    inner = [one for module in modules if module.kind in ("Router", "Asym") for one in sorted(module.folder.glob("*/"))]
    homes = [*(module.folder for module in modules if module.kind not in MODULES), *inner, path]
    for home in homes:
        config = home / "config.json"
        if config.is_file() and "model_type" in read_json(config):
            return home
    return next((home for home in homes if (home / "config.json").is_file()), path)


def _poolings(settings: Mapping[str, Any]) -> int:
    """How many ways of pooling a Pooling's configuration names: their vectors stand next to each other."""
    named = settings.get("pooling_mode")
    if isinstance(named, list):
        return len(named)
    if isinstance(named, str):
        return 1
    return max(1, sum(value is True for key, value in settings.items() if key.startswith("pooling_mode_")))
