"""One file per paper: an unlearning loss with its data needs and its state."""

__all__ = ["MACHINERY"]

# Modules of this package that are not objectives themselves.
MACHINERY = ("contract", "other_answers", "terms", "view")
