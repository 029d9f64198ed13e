"""Per-example arrays -> a score with n and an interval; pure numpy and scipy."""
