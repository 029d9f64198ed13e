"""The demo's methods: five with their own settings, every objective and bound beside them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from letheon import demo, parts, recipe, registry
from letheon.adapters import bounds
from letheon.errors import InputError

OBJECTIVES = [name for name in registry.names("letheon.objectives") if name != "finetune"]


def resolved(name: str) -> recipe.Recipe:
    found = demo.recipes(0, [name])
    assert set(found) == {"target", "gold", name}
    return recipe.resolve(found[name], where=name)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_a_method(name: str) -> None:
    loaded = resolved(name)
    objective = parts.objective_of(loaded.objective)
    assert isinstance(objective, registry.load("letheon.objectives", name).OBJECTIVE)
    assert loaded.adapter is not None
    assert (loaded.adapter.bound, loaded.training.lr) == ("sine", 2e-3)
    weight = {"forget_weight": 0.05} if name in demo._STRONG else {}
    params = registry.example("letheon.objectives", name) | weight
    assert objective == type(objective)(**params)


def test_what_has_a_small_forget_weight_is_there() -> None:
    assert set(OBJECTIVES) >= demo._STRONG


@pytest.mark.parametrize("bound", bounds.names())
def test_every_bound_goes_with_an_objective(bound: str) -> None:
    adapter = resolved(f"idk_dpo-{bound}").adapter
    assert adapter is not None
    assert adapter.bound == bound


def test_lora_is_no_bound_and_has_the_learning_rate_of_none() -> None:
    loaded = resolved("rmu-lora")
    assert loaded.adapter is not None
    assert (loaded.adapter.bound, loaded.training.lr) == ("identity", 6e-3)


def test_the_searched_settings_are_as_they_were() -> None:
    found = {k: (v["objective"], v["adapter"], v["training"]) for k, v in demo.METHODS.items()}
    gd = "gradient_difference"
    assert found == {
        "gd-lora": (_choice(gd, forget_weight=0.06), {"bound": "identity"}, {"lr": 6e-3}),
        "gd-sine": (_choice(gd, forget_weight=0.04), {"bound": "sine"}, {"lr": 2e-3}),
        "gd-tanh": (_choice(gd, forget_weight=0.04), {"bound": "tanh"}, {"lr": 2e-3}),
        "npo-lora": (
            _choice("npo", forget_weight=0.05, beta=0.15),
            {"bound": "identity"},
            {"lr": 6e-3},
        ),
        "npo-sine": (_choice("npo", forget_weight=0.05, beta=0.2), {"bound": "sine"}, {"lr": 3e-3}),
    }
    assert all(demo.method(name) is setting for name, setting in demo.METHODS.items())


def _choice(name: str, **params: float) -> dict[str, object]:
    return {"name": name, "params": params}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gd-sin", "gd-sine"),
        ("rmuu", "rmu"),
        ("idk_dop-lora", "idk_dpo"),
        ("rmu-sien", "sine"),
        ("npo-loar", "lora"),
        ("finetune", None),
    ],
)
def test_an_unknown_method_names_the_nearest(name: str, meant: str | None) -> None:
    with pytest.raises(InputError, match=f"Got: {name}\\.") as caught:
        demo.method(name)
    assert (f"Did you mean {meant}?" in str(caught.value)) == (meant is not None)


def test_its_own_methods_need_no_torch_in_the_demos_process() -> None:
    code = (
        "import sys; from letheon import demo; demo.recipes(0, list(demo.METHODS)); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
