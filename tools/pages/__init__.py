"""Pages generated from committed rows."""
