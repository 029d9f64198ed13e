"""YAML that people write: read strictly, overridden by dotted keys, its errors in words."""

from __future__ import annotations

__all__ = ["explain", "parse_override", "put", "read"]

from collections.abc import Hashable
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from letheon.errors import RecipeError, nearest


def read(path: Path, *, what: str = "recipe") -> dict[str, Any]:
    """Read a YAML file's mapping, as it stands; ``what`` names the file in errors.

    Raises RecipeError when there is no such file, or it holds something else.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no file"
        raise RecipeError(
            f"A {what} is a YAML file.", got=f"{found} at {path}", remedy="Check the path."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"A {what} is a readable UTF-8 text.", got=f"{path}: {error}", remedy="Check the file."
        ) from None
    raw = _yaml(text, f"{path}: ", f"A {what} must be valid YAML.")
    if not isinstance(raw, dict):
        raise RecipeError(
            f"A {what} is a mapping of keys.", got=str(path), remedy="See recipes/ for examples."
        )
    return raw


def parse_override(text: str) -> tuple[str, Any]:
    """Return the key and the YAML value of ``dotted.key=value``; raises RecipeError."""
    key, sep, value = text.partition("=")
    if not sep or not key:
        raise RecipeError(
            "An override is KEY=VALUE.", got=text, remedy="For example training.lr=1e-4."
        )
    return key, _scalar(value)


def put(raw: dict[str, Any], key: str, value: Any) -> None:
    """Put ``value`` at the dotted ``key`` of a plain mapping."""
    *parents, last = key.split(".")
    node = raw
    for parent in parents:
        child = node.get(parent)
        node[parent] = child if isinstance(child, dict) else {}
        node = node[parent]
    node[last] = value


class _Loader(yaml.SafeLoader):
    """YAML in which a key that comes twice is an error: the first would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} comes twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _yaml(text: str, where: str, rule: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        got = f"{where}{error.problem}{place}"
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        got = f"{where}{' '.join(str(error).split())}"
    raise RecipeError(rule, got=got, remedy="Mend it.")


def _scalar(text: str) -> Any:
    value = _yaml(text, f"{text!r}: ", "An override's value must be valid YAML.")
    if isinstance(value, str):
        try:  # YAML 1.1 reads 1e-4 as text
            return float(value)
        except ValueError:
            return value
    return value


def explain(error: ValidationError, where: str, model: type[BaseModel]) -> RecipeError:
    """Say what pydantic found wrong with a ``model`` in ``where``; an unknown key's nearest one."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return RecipeError(
            f"Unknown key in {where}.",
            got=key,
            remedy=nearest(str(first["loc"][-1]), _fields(first["loc"][:-1], model)),
        )
    if first["type"] == "value_error":
        # A rule over several keys: its words name them, their values would fill a page.
        message = first["msg"].removeprefix("Value error, ")
        return RecipeError(f"{where}: {message}.", got=key or None, remedy="Mend these keys.")
    got = f"{key} = {first['input']!r}" if first["type"] != "missing" else f"no {key}"
    return RecipeError(f"{where}: {first['msg']}.", got=got[:200], remedy="Mend that key.")


def _fields(loc: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    for part in loc:
        if part in model.model_fields:  # others are numbers and keys of mappings
            annotation: Any = model.model_fields[str(part)].annotation
            inner = [annotation, *get_args(annotation)]
            model = next(a for a in inner if isinstance(a, type) and issubclass(a, BaseModel))
    return list(model.model_fields)
