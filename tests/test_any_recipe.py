"""Whatever a recipe holds, it is a recipe or a RecipeError: hypothesis finds nothing else."""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pipeline
from letheon import recipe
from letheon.errors import InputError, RecipeError
from letheon.request import recipe_or_request

SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WHOLE = (pipeline.TARGET, pipeline.UNLEARN)


def places(node: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """List every key of a recipe as a path of names."""
    found = [at] if at else []
    if isinstance(node, dict):
        found += [place for key, value in node.items() for place in places(value, (*at, key))]
    return found


FIELDS = sorted(
    {place for one in WHOLE for place in places(one)}
    | set(places(recipe.resolve(pipeline.UNLEARN, where="here").model_dump(mode="json")))
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(["auto", "4bit", "1e-4", "~", "[1", "{}", "\ud800", "\x00", "null", "-"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(["name", "params"]), inner)
    ),
    max_leaves=6,
)


def loaded_or_refused(path: Path, overrides: list[str] = []) -> None:  # noqa: B006
    with suppress(RecipeError):
        recipe.dump(recipe.load(path, overrides))


@SETTINGS
@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.sampled_from(FIELDS), VALUES), max_size=3))
def test_any_value_at_any_key(whole: dict[str, Any], changes: list[Any]) -> None:
    raw = copy.deepcopy(whole)
    for place, value in changes:
        recipe.put(raw, ".".join(place), value)
    try:
        found = recipe.resolve(raw, where="here")
    except RecipeError:
        return
    assert recipe.resolve(found.model_dump(mode="json"), where="again") == found


@SETTINGS
@given(
    st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    loaded_or_refused(file)


@SETTINGS
@given(
    st.sampled_from(FIELDS).map(".".join) | st.text(max_size=12),
    st.sampled_from(["=", "", "=="]),
    st.text(max_size=20) | st.sampled_from(["[1, 2", "{a: ", "&a *a", "!!python/name:os", "- -"]),
)
def test_any_override(tmp_path: Path, key: str, sign: str, value: str) -> None:
    file = pipeline.write(tmp_path, pipeline.UNLEARN)
    loaded_or_refused(file, [f"{key}{sign}{value}"])
    with suppress(InputError):
        recipe_or_request(None, {"model": "./none", "forget": "f"}, [f"{key}{sign}{value}"])
