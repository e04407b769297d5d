"""The job of `mtext encode`: texts in, vectors on disk out."""
