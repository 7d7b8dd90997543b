"""Score models on questions about videos."""
