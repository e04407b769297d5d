"""What a run would do, in a few lines."""

from collections.abc import Iterable, Iterator

from matryoshka_text.nested import choose_backend
from matryoshka_text.training.batches import batch_size
from matryoshka_text.training.folder import RunFolder
from matryoshka_text.training.inputs import Inputs
from matryoshka_text.training.processes import Processes
from matryoshka_text.training.prompts import prompt_lines

__all__ = ["outlook"]


def outlook(inputs: Inputs, folder: RunFolder, processes: Processes, why: str) -> str:
    """The lines of a dry run: folder, base, dims, heads, data, prompts, rotation, steps, device and loss.

    `why` is the reason for the precision.
    """
    recipe, encoder, accelerator = inputs.recipe, inputs.encoder, processes.accelerator
    origin = encoder.resolved.origin if encoder.resolved else "?"
    size = sum(p.numel() for p in encoder.parameters())
    chosen = choose_backend(accelerator.device, processes.products, len(encoder.dims))
    return "\n".join(
        [
            f"run      {folder.path}",
            f"base     {recipe.base.model} (from the {origin}), width {encoder.width}, {size:,} parameters",
            f"dims     {', '.join(map(str, encoder.dims))}",
            *(f"head     {line}" for line in inputs.heads()),
            *_listed("data", _streams(inputs)),
            *_listed("prompts", prompt_lines(recipe)),
            *_listed("rotation", inputs.rotation.outlook() if inputs.rotation is not None else ()),
            f"steps    {inputs.steps:,}",
            f"device   {accelerator.device}, {accelerator.num_processes} process(es)",
            f"dtype    {recipe.precision} ({why})",
            f"loss     {chosen.name}: {chosen.reason}",
        ]
    )


def _streams(inputs: Inputs) -> Iterator[str]:
    """A line for each stream."""
    count = inputs.recipe.batch.accumulate
    together = f" ({count} to a step)" if count > 1 else ""
    for name, examples in inputs.streams.items():
        plan = inputs.plans[name].first
        packed = inputs.masking[0] if inputs.masking and name == "text" else None
        sequences = f" in {len(packed):,} sequences" if packed is not None else ""
        yield (
            f"{len(examples):,} rows of {', '.join(examples.names)}{sequences}; {len(plan):,} batches of "
            f"{batch_size(inputs.recipe, name)[0]} an epoch{together}, {plan.left_over:,} rows left over"
        )


def _listed(what: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines with `what` before the first one."""
    return (f"{'' if place else what:<8} {line}" for place, line in enumerate(lines))
