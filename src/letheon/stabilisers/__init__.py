"""What a bound is compared with: other ways to keep an ascent from running away, one file each."""

__all__ = ["MACHINERY"]

# Modules of this package that are not stabilisers themselves.
MACHINERY = ("contract",)
