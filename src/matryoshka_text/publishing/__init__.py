"""Results laid out for mteb's leaderboard."""

__all__ = []
