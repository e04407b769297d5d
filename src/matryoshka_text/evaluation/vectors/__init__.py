"""Texts encoded once, and the views of their vectors."""
