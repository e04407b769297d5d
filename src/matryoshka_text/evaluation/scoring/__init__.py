"""Mteb's scores, what they are made of, and how sure they are."""
