"""Optional dependencies: imported where they are used, named clearly if they are missing."""

import importlib
from types import ModuleType

from matryoshka_text.errors import ExtraMissing

__all__ = ["optional"]


def optional(module: str, *, extra: str, purpose: str) -> ModuleType:
    """The imported `module`; `ExtraMissing` with the install command if its extra is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise
        raise ExtraMissing(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not installed; "
            f"install it with: pip install 'matryoshka-text[{extra}]'"
        ) from error
