"""The folder is the registry: list, describe and import the files of a package by name.

A file's class stands in a constant named after the folder: ``OBJECTIVE``, ``OPTIMIZER``,
``STABILISER``. ``make`` builds it from a recipe's ``{name, params}``. Where a field has no default,
the file's ``EXAMPLE`` holds params to try it with.
"""

from __future__ import annotations

__all__ = ["example", "load", "make", "names", "summary"]

import ast
import dataclasses
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from letheon.errors import RecipeError, nearest


def names(package: str) -> list[str]:
    """List what a package offers, sorted, without importing the package.

    A module is offered unless its name starts with an underscore or stands in the package's
    ``MACHINERY`` (a literal tuple of names in its ``__init__``).
    """
    folder = _folder(package)
    hidden = _machinery(folder / "__init__.py")
    found = (module.name for module in iter_modules([str(folder)]))
    return sorted(name for name in found if not name.startswith("_") and name not in hidden)


def summary(package: str, name: str) -> str:
    """Return the first docstring line of ``package.name`` without importing it; "" if none.

    Raises ``RecipeError`` when the package offers no such name.
    """
    _check(package, name)
    folder = _folder(package)
    file = folder / f"{name}.py"
    source = file if file.exists() else folder / name / "__init__.py"
    docstring = ast.get_docstring(_parse(source)) or ""
    return docstring.partition("\n")[0]


def load(package: str, name: str) -> ModuleType:
    """Import ``package.name``. Raises ``RecipeError`` when the package offers no such name."""
    _check(package, name)
    return import_module(f"{package}.{name}")


def example(package: str, name: str) -> dict[str, Any]:
    """Return params that ``make`` accepts: what has no default, as the file's ``EXAMPLE`` says."""
    return dict(vars(load(package, name)).get("EXAMPLE", {}))


def make(package: str, name: str, params: Mapping[str, Any]) -> Any:
    """Build the class of ``package.name`` with ``params``, which its own fields check.

    Raises ``RecipeError`` for an unknown name or field, or a value of the wrong kind.
    """
    kind = getattr(load(package, name), package.rpartition(".")[2].upper().removesuffix("S"))
    valid = [field.name for field in dataclasses.fields(kind) if field.init]
    for key in params:
        if key not in valid:
            raise RecipeError(f"Unknown parameter of {name}.", got=key, remedy=nearest(key, valid))
    try:
        return TypeAdapter(kind).validate_python(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or name
        raise RecipeError(
            f"{name}: {first['msg']}.",
            got=f"no {where}" if first["type"] == "missing" else f"{where} = {first['input']!r}",
            remedy=f"Mend the params of {name}.",
        ) from None


def _check(package: str, name: str) -> None:
    valid = names(package)
    if name not in valid:
        kind = package.rpartition(".")[2]
        rule = f"There is nothing of this name in {kind}."
        raise RecipeError(rule, got=repr(name), remedy=nearest(name, valid))


def _folder(package: str) -> Path:
    # find_spec imports the parent package only; `letheon` itself imports nothing heavy.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {package!r}", name=package)
    return Path(next(iter(spec.submodule_search_locations)))


def _machinery(source: Path) -> frozenset[str]:
    for node in _parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="MACHINERY")], value=value):
                return frozenset(ast.literal_eval(value))
            case ast.AnnAssign(target=ast.Name(id="MACHINERY"), value=ast.expr() as value):
                return frozenset(ast.literal_eval(value))
    return frozenset()


def _parse(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"), filename=str(source))
