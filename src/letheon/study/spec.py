"""What a study is: one YAML file that says what is compared, on what, and with how many trials.

A study names an unlearning recipe (``base``: everything that all methods share), the instances that
tuning sees and those that are scored, and for each method what it sets and what is searched. The
number of trials is one for all: there is no way to write a study in which two methods differ in it.
"""

from __future__ import annotations

__all__ = ["Method", "Range", "Spec", "Study", "load", "recipe_of"]

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from letheon import recipe as recipes
from letheon.errors import RecipeError, nearest
from letheon.recipe import Recipe

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"

# What methods must share to be compared, and what the study itself decides.
_SHARED = ("data", "evaluation", "gold", "kind", "model", "name", "seed", "template")

# Keys of the study that --set reaches; any other is the base recipe's.
_OWN = ("attacks", "name", "select", "trials")

_SOURCES = (("model",), ("gold", "selection"), ("gold", "scoring"))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Range(_Strict):
    """What a setting is drawn from: ``low`` to ``high`` evenly (``log``: evenly in the logarithm;
    ``integer``: whole numbers, both ends among them), or one of ``choices``.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    choices: tuple[Any, ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Range:
        if self.choices is not None:
            if {self.low, self.high} != {None} or self.log or self.integer:
                raise ValueError("a range has either choices or low and high")
            if len(self.choices) < 2:
                raise ValueError("choices are two at least")
            return self
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError("a range needs low < high, or choices")
        if self.log and self.low <= 0:
            raise ValueError("a range with log is above 0")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError("a range of integers has whole ends")
        return self


class Method(_Strict):
    """A method: what it ``set``s in the base recipe, and the ranges of what is ``search``ed.

    With nothing to search it is a rule, which needs one trial to be seen on what tuning sees.
    """

    set: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Range] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _own_keys(self) -> Method:
        for key in (*self.set, *self.search):
            if key.partition(".")[0] in _SHARED:
                raise ValueError(f"a method does not change {key}, which all methods share")
        for key in self.search:
            others = [*self.set, *(other for other in self.search if other != key)]
            if any(_overlap(key, other) for other in others):
                raise ValueError(f"a method says {key} in two places")
        return self


class Spec(_Strict):
    """A study's own file; see docs/studies.md.

    ``tune`` and ``score`` are overrides of the base recipe (dotted key: value), one mapping an
    instance. ``select`` is the probe's score that tuning goes by, the smaller the better.
    ``attacks``: each by name with its settings, or a list of names alone.
    """

    name: str = Field(pattern=_NAME)
    base: str
    tune: tuple[dict[str, Any], ...] = Field(min_length=1)
    score: tuple[dict[str, Any], ...] = Field(min_length=1)
    trials: int = Field(ge=1)
    select: str = "gate_gap"
    methods: dict[str, Method] = Field(min_length=1)
    attacks: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("attacks", mode="before")
    @classmethod
    def _named(cls, found: Any) -> Any:
        return {name: {} for name in found} if isinstance(found, list | tuple) else found

    @field_serializer("attacks")
    def _names_alone(self, found: dict[str, dict[str, Any]]) -> dict[str, Any] | list[str]:
        # A study keeps its identity whichever way its file says the same.
        return found if any(found.values()) else list(found)

    @field_validator("tune", "score")
    @classmethod
    def _each_once(cls, found: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        if any(one in found[:k] for k, one in enumerate(found)):
            raise ValueError("an instance comes twice: it would count as two")
        return found

    @field_validator("methods")
    @classmethod
    def _names(cls, found: dict[str, Method]) -> dict[str, Method]:
        for name in found:
            if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
                raise ValueError(f"a method's name becomes a folder's, which {name!r} cannot be")
        return found

    @model_validator(mode="after")
    def _trials_differ(self) -> Spec:
        rules = [name for name, method in self.methods.items() if not method.search]
        if rules and self.trials > 1:
            raise ValueError(
                f"{', '.join(rules)} with nothing to search: {self.trials} trials would be one, "
                "repeated; search something, or put rules into a study of one trial"
            )
        return self


@dataclass(frozen=True)
class Study:
    """A study with the recipes it needs, as plain mappings.

    ``models``: the recipes of target and gold models by file name; the base names them so.
    """

    spec: Spec
    base: dict[str, Any]
    models: dict[str, dict[str, Any]]

    @property
    def instances(self) -> dict[str, dict[str, Any]]:
        """The overrides of each instance by its name: ``tune-0``, ``score-0`` and so on."""
        named = {"tune": self.spec.tune, "score": self.spec.score}
        return {f"{kind}-{k}": one for kind, found in named.items() for k, one in enumerate(found)}

    @property
    def tuned(self) -> list[str]:
        """The names of the instances that tuning sees."""
        return [name for name in self.instances if name.startswith("tune-")]

    @property
    def scored(self) -> list[str]:
        """The names of the instances of final runs."""
        return [name for name in self.instances if name.startswith("score-")]

    def to_json(self) -> dict[str, Any]:
        """Return the study without this machine's paths: ``Study.from_json`` reads it."""
        spec = self.spec.model_dump(mode="json", exclude_defaults=True) | {"base": "base.yaml"}
        return {
            "spec": _shareable(spec),
            "base": _shareable(self.base),
            "models": _shareable(self.models),
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Study:
        """Read what ``to_json`` gave; raises RecipeError."""
        return Study(
            _validated(found["spec"], "the study"), dict(found["base"]), dict(found["models"])
        )

    @property
    def identity(self) -> str:
        """A hash of all that decides the study's results but the data's own content."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read the study at ``path`` and the recipes beside it.

    ``overrides`` are ``dotted.key=value``: of the study's own name, trials, select and attacks; any
    other key is the base recipe's. Raises RecipeError (what is wrong, and the nearest valid key).
    """
    path = Path(path)
    raw = recipes.read(path, what="study")
    pairs = [recipes.parse_override(each) for each in overrides]
    valid = [*_OWN, *Recipe.model_fields]
    for key, value in pairs:
        if key.partition(".")[0] not in valid:
            raise RecipeError(
                f"--set reaches {', '.join(_OWN)} of a study and any key of its base recipe.",
                got=key,
                remedy=nearest(key, valid),
            )
        if key in _OWN:
            recipes.put(raw, key, value)
    spec = _validated(raw, str(path))
    place = path.parent / spec.base
    base = recipes.read(place)
    for key, value in pairs:
        if key not in _OWN:
            recipes.put(base, key, value)
    return Study(spec, base, _gather(base, place.parent))


def recipe_of(
    study: Study,
    instance: str,
    method: str,
    setting: Mapping[str, Any] | None = None,
    *,
    folder: Path | None = None,
) -> Recipe:
    """Return the recipe of ``method`` with ``setting`` on an instance; raises RecipeError.

    ``folder`` holds the recipes of target and gold models.
    """
    raw = copy.deepcopy(study.base)
    for changes in (study.spec.methods[method].set, setting or {}, study.instances[instance]):
        for key, value in changes.items():
            recipes.put(raw, key, copy.deepcopy(value))
    raw["name"] = method
    where = f"{instance}, {method} of the study {study.spec.name}"
    return recipes.resolve(raw, where=where, base=folder)


def _validated(raw: Mapping[str, Any], where: str) -> Spec:
    try:
        return Spec.model_validate(raw)
    except ValidationError as error:
        raise recipes.explain(error, where, Spec) from None


def _overlap(key: str, other: str) -> bool:
    return key == other or f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _gather(base: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Read the recipes that the base names, and let it name them by file name alone."""
    found: dict[str, Path] = {}
    for path in _SOURCES:
        source: Any = base
        for key in path:
            source = source.get(key) if isinstance(source, dict) else None
        if not isinstance(source, dict) or source.get("recipe") is None:
            continue
        place = (folder / str(source["recipe"])).resolve()
        if found.setdefault(place.name, place) != place:
            raise RecipeError(
                "The recipes of a study's models have names of their own.",
                got=f"{found[place.name]} and {place}",
                remedy="Rename one of the files.",
            )
        source["recipe"] = place.name
    return {name: recipes.read(place) for name, place in found.items()}


def _shareable(node: Any, key: str = "") -> Any:
    """Leave out where this machine has its data; of other absolute paths keep the last part."""
    if isinstance(node, dict):
        data = {k: v for k, v in node.items() if not (key == "data" and k == "path")}
        return {k: _shareable(v, k) for k, v in data.items() if k != "data.path"}
    if isinstance(node, list | tuple):
        return [_shareable(each) for each in node]
    return Path(node).name if isinstance(node, str) and node.startswith("/") else node
