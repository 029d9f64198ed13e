"""Where somebody keeps models and data, as a page that is handed on may say it.

An absolute path tells a login, a client or a case to readers who can do nothing with it, so a page
has its last part only. A relative path is shown whole: the command that repeats a run needs it.
``recipe.yaml`` itself keeps them all, because ``scrub``, ``attack`` and ``chat`` look there.
"""

from __future__ import annotations

__all__ = ["CUT", "shareable"]

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import yaml

CUT = ".../"
"""What stands for the folders of an absolute path."""

# The keys of a recipe that name places.
_KEYS = {"path", "recipe", "forget", "retain", "unseen", "tokenizer", "run"}


def shareable(recipe: str) -> tuple[str, Mapping[str, Any]]:
    """Return a recipe's YAML with absolute paths cut, and the same as a mapping.

    The text is as it was where there are none. What is no YAML mapping is left out.
    """
    try:
        told = yaml.safe_load(recipe)
    except yaml.YAMLError:
        return "", {}
    if not isinstance(told, dict):
        return "", {}
    cut = _cut(told)
    return (recipe if cut == told else yaml.safe_dump(cut, sort_keys=False)), cut


def _cut(node: Any, key: str = "") -> Any:
    if isinstance(node, dict):
        return {name: _cut(value, str(name)) for name, value in node.items()}
    if isinstance(node, list):
        return [_cut(value, key) for value in node]
    return _last(node) if isinstance(node, str) and key in _KEYS else node


def _last(place: str) -> str:
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(place)
        if path.is_absolute() or path.parts[:1] == ("~",):
            return CUT + path.name
    return place
