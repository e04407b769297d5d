"""Retrieval tasks searched by plans: quality against multiply-adds, bytes and time."""
