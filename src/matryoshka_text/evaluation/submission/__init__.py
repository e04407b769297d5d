"""Results laid out for mteb's leaderboard."""
