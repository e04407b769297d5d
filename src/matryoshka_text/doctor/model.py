"""What a model's folder is, and whether its parts agree."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from matryoshka_text.doctor.line import Line, look
from matryoshka_text.encoder import MatryoshkaEncoder, Resolved, resolve_model
from matryoshka_text.encoder.compat import Dense, Normalize, Pooling, has_ways, modules_of
from matryoshka_text.encoder.tokens import usable_tokens

__all__ = ["model_lines"]

_TEXTS = ("A cat sleeps on the warm stones.", "a", "one two three " * 2000)
# Rows of length 1 in float32 are off by less than this.
_NEAR = 1e-4


def model_lines(name: str, *, trust_remote_code: bool = False) -> Iterator[Line]:
    """Files, modules, tokenizer, positions, dims, prompts, and the vectors of three texts. Nothing is fetched."""
    resolved = resolve_model(name, local_only=True, with_code=trust_remote_code)
    yield Line("model", f"{name}: from the {resolved.origin}, {resolved.path}")
    yield from look("files", lambda: _files(resolved))
    with _warnings() as told:
        encoder = MatryoshkaEncoder(
            resolved.path, device="cpu", local_files_only=True, trust_remote_code=trust_remote_code
        ).eval()
    yield from (Line("warning", text, wrong=True) for text in told)
    yield from look("modules", lambda: _modules(encoder))
    yield from look("dims", lambda: _dims(encoder, resolved.path))
    yield from look("tokenizer", lambda: _tokenizer(encoder))
    yield from look("positions", lambda: _positions(encoder))
    yield from look("prompts", lambda: _prompts(encoder))
    yield from look("vectors", lambda: _vectors(encoder))


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """The texts of our own warnings that are logged inside."""
    told: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logger, handler = logging.getLogger("matryoshka_text"), Kept(logging.WARNING)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _files(resolved: Resolved) -> Iterator[Line]:
    files = [file for file in resolved.path.rglob("*") if file.is_file()]
    weights = [file for file in files if file.suffix == ".safetensors"]
    size = sum(file.stat().st_size for file in weights)
    yield Line(
        "files",
        f"{len(files)} files, {len(weights)} of them weights ({size / 1e6:,.1f} MB), sha256 {resolved.weights()[:12]}",
    )


def _modules(encoder: MatryoshkaEncoder) -> Iterator[Line]:
    named = [*modules_of(encoder).values()]
    added = " (added by us, the folder has none)" if encoder.normalized_by_us else ""
    yield Line("modules", " → ".join(map(_module, named)) + added)
    width: int | None = None
    module: Any
    for module in named:
        reads = module.in_features if isinstance(module, Dense) else None
        if width is not None and reads is not None and reads != width:
            text = f"a Dense reads {reads} dims, but what stands before it gives {width}; give its own model's Dense"
            yield Line("modules", text, wrong=True)
        if isinstance(module, Dense):
            width = int(module.out_features)
        elif hasattr(module, "get_embedding_dimension") and not isinstance(module, Normalize):
            width = int(module.get_embedding_dimension())


def _module(module: Any) -> str:
    kind = type(module).__name__
    if isinstance(module, Pooling):
        return f"{kind} ({module.pooling_mode})"
    if isinstance(module, Dense):
        turned = module.in_features == module.out_features and type(module.activation_function).__name__ == "Identity"
        return f"{kind} ({module.in_features} to {module.out_features}{', a rotation' if turned else ''})"
    if kind == "Transformer":
        config = module.model.config
        return f"{kind} ({config.model_type}, {getattr(config, 'num_hidden_layers', '?')} layers)"
    return kind


def _dims(encoder: MatryoshkaEncoder, path: Path) -> Iterator[Line]:
    named = getattr(encoder.config, "matryoshka_dimensions", None)
    ways = [f"width {encoder.width}"]
    if named is None:
        ways.append("not Matryoshka: config.json has no matryoshka_dimensions")
    else:
        ways.append("trained dims " + ", ".join(map(str, encoder.dims)))
    if getattr(encoder.config, "matryoshka_layers", None):
        ways.append("trained layers " + ", ".join(map(str, encoder.layers)))
    heads = sorted(head.name for head in (path / "heads").glob("*") if head.is_dir())
    ways.append("heads " + (", ".join(heads) or "none"))
    if (path / "adapter_config.json").is_file():
        ways.append("an adapter, merged into its base")
    yield Line("dims", "; ".join(ways))
    if named is not None and list(named) != list(encoder.dims):
        yield Line(
            "dims", f"config.json has {named}, of which {list(encoder.dims)} can be used; correct it", wrong=True
        )


def _tokenizer(encoder: MatryoshkaEncoder) -> Iterator[Line]:
    tokenizer: Any = encoder.tokenizer
    backbone = encoder.transformers_model
    length = len(tokenizer)
    pad = tokenizer.pad_token_id
    rows = None if backbone is None else backbone.get_input_embeddings().weight.shape[0]
    yield Line("tokenizer", f"{type(tokenizer).__name__}, {length:,} tokens for {rows or 0:,} rows; padding id {pad}")
    if rows is not None and length > rows:
        way = f"resize the model: model.resize_token_embeddings({length})"
        yield Line("tokenizer", f"{length:,} tokens, but the model has vectors for {rows:,} of them; {way}", wrong=True)
    if pad is None:
        yield Line("tokenizer", "has no padding token; set one: tokenizer.pad_token = …, and save it", wrong=True)


def _positions(encoder: MatryoshkaEncoder) -> Iterator[Line]:
    most = usable_tokens(encoder)
    yield Line(
        "positions",
        f"texts are cut at {encoder.max_seq_length} tokens; the model can read {most or 'any number of them'}",
    )
    # Opened, it is cut where its positions end; another library would read past them.
    asked = None if encoder.folder is None else encoder.folder.longest
    if most is not None and asked is not None and asked > most:
        way = f"set max_seq_length to {most} in sentence_bert_config.json"
        yield Line("positions", f"its file cuts texts at {asked} tokens, but the model reads {most}; {way}", wrong=True)


def _prompts(encoder: MatryoshkaEncoder) -> Iterator[Line]:
    prompts = {name: text for name, text in (encoder.prompts or {}).items() if text}
    shown = ", ".join(f"{name} {text[:30]!r}" for name, text in prompts.items()) or "none"
    default = encoder.default_prompt_name
    ways = "; queries and documents go different ways" if has_ways(encoder) else ""
    yield Line("prompts", f"{shown}; default {default or 'none'}; similarity {encoder.similarity_fn_name}{ways}")
    if default is not None and default not in (encoder.prompts or {}):
        yield Line("prompts", f"the default prompt {default!r} is not one of them; name another", wrong=True)


def _vectors(encoder: MatryoshkaEncoder) -> Iterator[Line]:
    together = encoder.encode(list(_TEXTS))
    if not np.isfinite(together).all():
        yield Line("vectors", "hold values that are not finite; look at the model's weights", wrong=True)
        return
    dims = (*encoder.dims, encoder.width)
    off = max(float(np.abs(np.linalg.norm(encoder.encode(list(_TEXTS), dim=dim), axis=1) - 1).max()) for dim in dims)
    alone = float(np.abs(encoder.encode(_TEXTS[0]) - together[0]).max())
    spread = float(np.abs(together[0] - together[1]).max())
    text = f"three texts: lengths are 1 to {off:.0e} at every dim; a text alone and in a batch differ by {alone:.0e}"
    yield Line("vectors", text)
    if off > _NEAR or alone > _NEAR:
        way = "look at the modules and at the padding token"
        yield Line("vectors", f"differ by more than {_NEAR:g} from what they should be; {way}", wrong=True)
    if spread == 0:
        yield Line("vectors", "two different texts have one vector; look at the tokenizer and the weights", wrong=True)
