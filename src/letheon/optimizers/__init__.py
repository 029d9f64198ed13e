"""Optimizers by name; those a library does not have are written here."""

__all__ = ["MACHINERY"]

# Modules of this package that are not optimizers themselves.
MACHINERY = ("contract",)
