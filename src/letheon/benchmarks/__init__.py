"""Benchmarks: splits, version, licence, metrics, the gold model each needs."""
