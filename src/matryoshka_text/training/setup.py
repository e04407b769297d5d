"""A run's streams, from its inputs."""

from matryoshka_text.encoder.layers import depth_of
from matryoshka_text.training.inputs import Inputs
from matryoshka_text.training.masked import MaskedStream
from matryoshka_text.training.nesting import LayerPlan, Nestings
from matryoshka_text.training.processes import Processes
from matryoshka_text.training.sentences import SentenceStream
from matryoshka_text.training.streams import Stream

__all__ = ["build_streams"]


def build_streams(inputs: Inputs, processes: Processes) -> dict[str, Stream]:
    """The streams of the inputs' data, each with the objectives that read it."""
    recipe = inputs.recipe
    nestings = Nestings(recipe, inputs.trained.learned)
    # Without layers no depth is needed, and not every model has one that can be told.
    depth = depth_of(inputs.encoder) if recipe.layers is not None else 0
    layers, no_layers = LayerPlan(recipe.layers, depth, recipe.seed), LayerPlan(None, depth, recipe.seed)
    if recipe.layers is not None:
        inputs.encoder.layers = layers.layers
    elif getattr(inputs.encoder.config, "matryoshka_layers", None):
        del inputs.encoder.config.matryoshka_layers  # the base's: this run does not keep them good
    streams: dict[str, Stream] = {}
    for name in inputs.streams:
        if name == "text":
            streams[name] = MaskedStream(inputs=inputs, nestings=nestings, processes=processes)
            continue
        # A head reads the last layer only.
        plan = no_layers if name == "labelled" else layers
        streams[name] = SentenceStream(name, inputs=inputs, nestings=nestings, layers=plan, processes=processes)
    return streams
