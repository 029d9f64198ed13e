"""What forgetting must survive: one file per attack, made on unlearned and gold model alike."""

from __future__ import annotations

__all__ = ["MACHINERY"]

# Modules of this package that are not attacks themselves.
MACHINERY = ("asking", "contract", "references", "results")
