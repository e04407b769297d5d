"""What is scored: suites, data folders and own sets as tasks of mteb."""
