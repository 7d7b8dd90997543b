"""Compare methods on one model: the same questions, the same budgets, one table (`bvllm leaderboard`)."""
