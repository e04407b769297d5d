"""An encoder's transformer layers: how many there are, only the first of them, the vectors after each of several."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from matryoshka_text.encoder.compat import SentenceTransformer, WeightedLayerPooling, token_states
from matryoshka_text.errors import ModelError

__all__ = ["checked_layers", "depth_of", "first_layers", "layer_list", "vectors_by_layer", "whole_number"]


def layer_list(backbone: nn.Module) -> tuple[nn.Module, str]:
    """The module that holds the list of transformer layers, and the list's name in it.

    The list is the one `nn.ModuleList` outside every other whose members are of one class and as many as
    config.num_hidden_layers; or a single layer that is run that many times (ALBERT with one group). `ModelError` if
    there is no such list, or more than one.
    """
    *holders, name = _path(backbone)
    return backbone.get_submodule(".".join(holders)), name


def depth_of(encoder: SentenceTransformer) -> int:
    """The number of transformer layers that one forward pass runs; `ModelError` if they cannot be told apart."""
    backbone = _backbone(encoder)
    layer_list(backbone)
    config: Any = backbone.config
    return int(config.num_hidden_layers)


@contextmanager
def first_layers(encoder: SentenceTransformer, layers: int | None) -> Iterator[None]:
    """Inside, the backbone has and runs only its first `layers` layers, and its config says so; None: all of them.

    The others come back on leaving, errors included, in the mode (training or not) and on the device that the encoder
    has by then. `ValueError` for a number outside 1..depth. Not for several threads: the encoder itself is changed.
    """
    if layers is None:
        yield
        return
    count = whole_number("layers", layers, depth_of(encoder), "depth")
    if count < depth_of(encoder):
        _require_one_state(encoder)
    backbone = _backbone(encoder)
    holder, name = layer_list(backbone)
    every: nn.ModuleList = getattr(holder, name)
    first, rest = every[:count], every[count:]
    first.training = every.training
    device = _device(first)
    before = _cut_config(backbone.config, count)
    try:
        setattr(holder, name, first)
        yield
    finally:
        setattr(holder, name, every)
        for key, value in before.items():
            setattr(backbone.config, key, value)
        # eval() or to(device) inside did not reach the layers that were out.
        if first.training != every.training:
            every.train(first.training)
        if _device(first) != device:
            rest.to(_device(first))


def vectors_by_layer(
    encoder: SentenceTransformer, features: Mapping[str, Any], layers: Sequence[int]
) -> Float[Tensor, "layers texts width"]:
    """The sentence vectors after each of `layers` (ascending, counted from 1), from one forward pass, with its graph.

    Row n equals the encoder's forward pass inside `first_layers(encoder, n)`: the token states after layer n go through
    what follows the layers in the backbone (ModernBERT's final norm) and through the encoder's other modules. Layers
    above the last one asked for are not run. `ValueError` unless `layers` increase strictly within 1..depth.
    """
    asked = checked_layers(layers, depth_of(encoder))
    if len(asked) > 1:
        _require_one_state(encoder)
    transformer, *following = encoder
    with first_layers(encoder, asked[-1]), _Trace(_backbone(encoder)) as trace:
        after = transformer(dict(features))
    key = token_states(transformer)
    states = [after[key]]
    if len(asked) > 1:
        states = [*(trace.finished(layer, after[key]) for layer in asked[:-1]), after[key]]
    vectors = []
    for state in states:
        read = {**after, key: state}
        for module in following:
            read = module(read)
        vectors.append(read["sentence_embedding"])
    return torch.stack(vectors)


def checked_layers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """`layers` as plain integers; ValueError unless they increase strictly within 1..depth; there is at least one."""
    checked = tuple(whole_number("layers", layer, depth, "depth") for layer in layers)
    if not checked or list(checked) != sorted(set(checked)):
        raise ValueError(f"layers are {list(layers)}; allowed: strictly increasing whole numbers from 1 to {depth}")
    return checked


def whole_number(what: str, value: object, most: int, of: str) -> int:
    """`value` as an int; ValueError, naming `most` as the model's `of`, if it is not one from 1 to `most`."""
    if not isinstance(value, bool):
        try:
            number = operator.index(value)  # type: ignore[arg-type]  # numpy's integers are allowed too
        except TypeError:
            number = 0
        if 1 <= number <= most:
            return number
    raise ValueError(f"{what} is {value!r}; allowed: a whole number from 1 to {most}, the {of} of this model")


class _Trace:
    """What the backbone's layers are given in a forward pass, and the modules that its token states go through last."""

    def __init__(self, backbone: nn.Module) -> None:
        self._kind = type(backbone).__name__
        path = _path(backbone)
        holders = [backbone.get_submodule(".".join(path[:depth])) for depth in range(len(path))]
        self._layers = list(dict.fromkeys(holders[-1].get_submodule(path[-1]).children()))
        self._others = [
            module
            for holder, on_path in zip(holders, path, strict=True)
            for name, module in holder.named_children()
            if name != on_path
        ]
        self._given: list[Tensor] = []
        self._state: Tensor | None = None
        self._tail: list[nn.Module] = []

    def __enter__(self) -> "_Trace":
        self._handles = [layer.register_forward_pre_hook(self._enter, with_kwargs=True) for layer in self._layers]
        self._handles += [layer.register_forward_hook(self._leave) for layer in self._layers]
        self._handles += [module.register_forward_hook(self._pass, with_kwargs=True) for module in self._others]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def finished(self, layer: int, last: Tensor) -> Tensor:
        """The token states after `layer` (not the last one), as the backbone would have given them out.

        They are read where the next layer takes them in: DeBERTa-v2 puts a convolution between its first two layers.
        """
        if self._state is not last:
            raise ModelError(
                f"{self._kind} computes something between its last layer and its token states that is no module of its "
                "own, so the states after lower layers cannot be read; train all layers only"
            )
        state = self._given[layer]
        for module in self._tail:
            state = module(state)
        return state

    def _enter(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._given.append(given[0] if given else named["hidden_states"])

    def _leave(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        self._state = output[0] if isinstance(output, tuple) else output
        self._tail = []

    def _pass(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        follows = self._state is not None and len(given) == 1 and given[0] is self._state and not named
        # The pooler reads the states too, but gives one vector a text.
        if follows and isinstance(output, Tensor) and output.shape == given[0].shape:
            self._tail.append(module)
            self._state = output


def _require_one_state(encoder: SentenceTransformer) -> None:
    if any(isinstance(module, WeightedLayerPooling) for module in encoder):
        raise ModelError(
            "this encoder has a WeightedLayerPooling, which reads the states of all its layers, so it cannot do with "
            "fewer; use it with all its layers (None), or another model"
        )


def _backbone(encoder: SentenceTransformer) -> nn.Module:
    backbone = encoder.transformers_model
    if backbone is None:
        raise ModelError("this encoder holds no transformers model, so it has no layers; give all layers (None)")
    return backbone


def _path(backbone: nn.Module) -> list[str]:
    config: Any = backbone.config
    depth = getattr(config, "num_hidden_layers", None)
    lists = {name: module for name, module in backbone.named_modules() if isinstance(module, nn.ModuleList)}
    inner = tuple(f"{name}." for name in lists)
    outer = {n: m for n, m in lists.items() if not n.startswith(inner) and len({type(layer) for layer in m}) == 1}
    shared = getattr(config, "num_hidden_groups", None) == 1
    found = [name for name, layers in outer.items() if len(layers) == depth or (shared and len(layers) == 1)]
    if len(found) == 1:
        return found[0].split(".")
    lengths = ", ".join(f"{name} ({len(layers)})" for name, layers in outer.items()) or "none"
    raise ModelError(
        f"{type(backbone).__name__}: its depth is {depth}, and its lists of modules of one class are: {lengths}; "
        f"allowed: one list of {depth} layers, or one layer that is run {depth} times; use this model with all its "
        "layers, or another model"
    )


def _cut_config(config: Any, count: int) -> dict[str, Any]:
    """The values that `config` had; now it describes `count` layers."""
    before = {"num_hidden_layers": config.num_hidden_layers}
    config.num_hidden_layers = count
    # One word a layer, which transformers compares with the depth when it opens a model.
    if isinstance(kinds := getattr(config, "layer_types", None), list):
        before["layer_types"] = kinds
        config.layer_types = kinds[:count]
    return before


def _device(module: nn.Module) -> torch.device | None:
    return next((parameter.device for parameter in module.parameters()), None)
