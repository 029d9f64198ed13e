"""Unlearning that is not one loss in the common loop; one file per paper."""

__all__ = ["MACHINERY"]

# Modules of this package that are not procedures themselves.
MACHINERY = ("contract",)
