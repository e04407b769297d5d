"""The job of `mtext encode`: texts in, vectors on disk out."""

from matryoshka_text.encoding.job import Encoding, encode_file
from matryoshka_text.encoding.vectors import Vectors, open_vectors

__all__ = ["Encoding", "Vectors", "encode_file", "open_vectors"]
