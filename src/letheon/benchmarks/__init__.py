"""Benchmarks: splits, version, licence, metrics, the gold model each needs."""

__all__ = ["MACHINERY"]

# Modules of this package that are not benchmarks themselves.
MACHINERY = ("tofu_log",)
