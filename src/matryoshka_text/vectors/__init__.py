"""Texts to vectors on disk: each text encoded once, found again after a kill."""
