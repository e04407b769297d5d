"""What a person does with a submission."""

from collections.abc import Sequence
from pathlib import Path

from mteb.models import ModelMeta

from matryoshka_text.evaluation.mteb_compat import registered_entry

__all__ = ["instructions"]


def instructions(
    meta: ModelMeta,
    module: str,
    directory: Path,
    *,
    dims: Sequence[int],
    left_out: Sequence[str],
    unknown: Sequence[str],
) -> str:
    """SUBMISSION.md: what is in the folder, what to do with it, and what was left out."""
    parts = [
        f"# Results of {meta.name} for mteb's leaderboard",
        f"Commit {meta.revision}; full width in place, dims {_listed(dims)} as `experiments/embed_dim_<d>`. mteb "
        "reads every score back from here, its `mock-run` passes, and a task that its own "
        "`get_model(name, embed_dim=d)` scored again gave the same score.",
        "## 1. Register the model",
        f"A pull request to https://github.com/embeddings-benchmark/mteb that puts the entry of `{module}` into a file "
        f"of `mteb/models/model_implementations/`{_replacing(meta)}, with `mteb_mock_run_results.md` in its text. Look "
        "it through first: " + _gaps(unknown),
        "## 2. Submit the results",
        "With that mteb installed, full width:",
        f"    mteb submit-results --models {meta.name} --output-folder {directory} --create-pr",
    ]
    if dims:
        parts += [
            "That command takes full width only. The prefixes, and full width with them:",
            _script(meta, directory, dims),
        ]
    parts += [
        "`--create-pr` and `create_pr=True` need mteb[github] and `gh auth login`; without them a branch is made."
    ]
    if left_out:
        parts += ["## Left out", "\n".join(f"- {one}" for one in left_out)]
    return "\n\n".join(parts) + "\n"


def _listed(dims: Sequence[int]) -> str:
    return ", ".join(map(str, dims)) or "none"


def _replacing(meta: ModelMeta) -> str:
    before = registered_entry(str(meta.name))
    if before is None:
        return ""
    return f" (in the place of the entry that mteb has of that name, at {before.revision})"


def _gaps(unknown: Sequence[str]) -> str:
    if not unknown:
        return "every field is filled in."
    above_all = ", `training_datasets` above all" if "training_datasets" in unknown else ""
    return f"{', '.join(unknown)} could not be known from here and are None; fill in what you know{above_all}."


def _script(meta: ModelMeta, directory: Path, dims: Sequence[int]) -> str:
    lines = [
        "import mteb",
        f"metas = [mteb.get_model_meta({meta.name!r})]",
        f"metas += [mteb.get_model_meta({meta.name!r}, experiment_kwargs={{'embed_dim': d}}) for d in {list(dims)}]",
        f"mteb.ResultCache({str(directory)!r}).submit_results(metas, create_pr=True)",
    ]
    return "\n".join("    " + line for line in lines)
