"""Heads: what stands on an encoder, reads its prefixes, and is saved with it. Its modules are imported directly."""
