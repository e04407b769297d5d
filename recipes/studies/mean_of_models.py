"""The weighted mean of the weights of models that came from one base: an average over seeds, or a way back to the base.

    python recipes/studies/mean_of_models.py OUT MODEL=WEIGHT MODEL=WEIGHT ...

Three seeds averaged: OUT A=1 B=1 C=1. Forty percent of the way back to the base: OUT TRAINED=0.6 BASE=0.4. Weights are
divided by their sum. The models have to share their base and its rotation: a mean of two rotations is none.
"""

import argparse

import torch

from matryoshka_text import MatryoshkaEncoder


def mean_of(models: dict[str, float]) -> MatryoshkaEncoder:
    """The first model with the mean of all weights, taken in float64."""
    first, *others = models
    found, total = MatryoshkaEncoder(first), sum(models.values())
    weights = {name: tensor.double() * (models[first] / total) for name, tensor in found.state_dict().items()}
    for name in others:
        there = MatryoshkaEncoder(name).state_dict()
        if there.keys() != weights.keys():
            raise SystemExit(f"{name}: has other weights than {first}; allowed: models of one base")
        for key, tensor in there.items():
            weights[key] += tensor.double() * (models[name] / total)
    kept = found.state_dict()
    found.load_state_dict(
        {
            name: tensor.to(kept[name].dtype) if torch.is_floating_point(kept[name]) else kept[name]
            for name, tensor in weights.items()
        }
    )
    return found


def main() -> None:
    """Average, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("models", nargs="+", metavar="MODEL=WEIGHT")
    asked = parser.parse_args()
    pairs = [one.rpartition("=") for one in asked.models]
    mean_of({model: float(weight) for model, _, weight in pairs}).save(asked.out)


if __name__ == "__main__":
    main()
