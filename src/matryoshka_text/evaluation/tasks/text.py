"""The texts of a masked_text file: one a line."""

import gzip
import zlib
from pathlib import Path

from matryoshka_text.errors import DataError

__all__ = ["read_texts"]


def read_texts(path: Path) -> list[str]:
    """The lines of a .txt or .txt.gz file, without those that are blank. `DataError` where it holds no text."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = content.decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); allowed: UTF-8, one text a line, plain or gzip") from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise DataError(f"{path}: holds no text; at least one line is needed, one text a line")
    return texts
