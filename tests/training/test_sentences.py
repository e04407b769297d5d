"""What a base is made of outlives training, and queries and documents go the ways that it has for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import RecipeError
from matryoshka_text.training import train

Write = Callable[..., Path]
TEXTS = ["the cat", "money transfer to my bank account , the street and the world"]


def _base(tiny_model: Path, folder: Path, *modules: Any, **settings: Any) -> str:
    torch.manual_seed(3)
    transformer = Transformer(str(tiny_model.parent / "bert"), max_seq_length=64, **settings)
    SentenceTransformer(modules=[transformer, *modules], device="cpu").save(str(folder))
    return str(folder)


def _routed(tiny_model: Path, folder: Path) -> str:
    torch.manual_seed(4)
    routes = Router.for_query_document([Dense(32, 32)], [Dense(32, 32)])
    return _base(tiny_model, folder, Pooling(32), routes, Normalize())


BASES: dict[str, Callable[[Path, Path], str]] = {
    "pooling": lambda model, to: _base(model, to, Pooling(32, pooling_mode=("mean", "cls"))),
    "lengths": lambda model, to: _base(model, to, Pooling(32), Normalize(), query_length=4, document_length=9),
    "router": _routed,
}


@pytest.mark.parametrize("name", BASES)
def test_a_step_that_moves_nothing_leaves_the_model_as_it_was(
    write_recipe: Write, tmp_path: Path, tiny_model: Path, name: str
) -> None:
    base = BASES[name](tiny_model, tmp_path / "base")
    dims = [8, 64] if name == "pooling" else [8, 32]
    recipe = write_recipe(base={"model": base}, dims=dims, stopping={"steps": 1}, optimizer={"learning_rate": 1e-9})
    run = train(recipe, out=tmp_path / "run")
    was, now = (SentenceTransformer(str(one), device="cpu") for one in (base, run.model))
    for role in ("encode_query", "encode_document", "encode"):
        wanted, found = (getattr(one, role)(TEXTS, normalize_embeddings=True) for one in (was, now))
        np.testing.assert_allclose(found, wanted, atol=2e-6, err_msg=role)


@pytest.mark.parametrize("caching", [False, True])
def test_anchors_go_through_the_query_route_and_positives_through_the_other(
    write_recipe: Write, tmp_path: Path, tiny_model: Path, rows_file: Path, caching: bool
) -> None:
    base = _routed(tiny_model, tmp_path / "base")
    recipe = write_recipe(
        base={"model": base},
        stopping={"steps": 3},
        batch={"size": 16, "max_length": 24, "chunk": 5, "gradient_caching": caching},
        evaluation={"every": 1, "data": [{"name": "held", "file": str(rows_file), "kind": "pairs"}]},
    )
    run = train(recipe, out=tmp_path / "run")
    before, after = (MatryoshkaEncoder(one, device="cpu") for one in (base, run.model))
    for route in ("query", "document"):
        was, now = (one.get_submodule(f"2.sub_modules.{route}.0.linear").weight for one in (before, after))
        assert (was - now).abs().max() > 1e-4, route


def test_each_routes_vectors_are_the_ones_that_are_trained(
    write_recipe: Write, tmp_path: Path, tiny_model: Path
) -> None:
    """The first loss is that of the vectors that encode_query and encode_document give."""
    import json

    base = _routed(tiny_model, tmp_path / "base")
    rows = [{"anchor": f"the {w} and", "positive": f"a {w} of the street"} for w in ("cat", "dog", "bank", "world")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = json.loads((Path(base) / "config.json").read_text())
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (Path(base) / "config.json").write_text(json.dumps(config | still))
    recipe = write_recipe(
        base={"model": base},
        dims=[32],
        data=[{"name": "rows", "file": str(tmp_path / "rows.jsonl"), "kind": "pairs"}],
        objectives=[{"kind": "info_nce", "temperature": 0.05}],
        batch={"size": 4, "max_length": 24},
        stopping={"steps": 1},
    )
    run = train(recipe, out=tmp_path / "run")
    loss = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[0])["loss"]
    encoder = MatryoshkaEncoder(base, device="cpu")
    queries = encoder.encode_query([row["anchor"] for row in rows], convert_to_tensor=True)
    documents = encoder.encode_document([row["positive"] for row in rows], convert_to_tensor=True)
    wanted = torch.nn.functional.cross_entropy(queries @ documents.T / 0.05, torch.arange(4))
    assert loss == pytest.approx(float(wanted), abs=1e-5)


@pytest.mark.parametrize(("stream", "kind"), [("labelled", "classify"), ("scored", "cosent")])
def test_texts_of_no_role_have_no_route(
    write_recipe: Write, tmp_path: Path, tiny_model: Path, stream_files: dict[str, Any], stream: str, kind: str
) -> None:
    recipe = write_recipe(
        base={"model": _routed(tiny_model, tmp_path / "base")},
        data=[stream_files[stream]],
        objectives=[{"kind": kind}],
    )
    with pytest.raises(RecipeError, match=r"objectives\[0\].kind: found .* has a Router.*allowed: objectives on pairs"):
        train(recipe, out=tmp_path / "run", dry_run=True)
    assert not (tmp_path / "run").exists()
