"""What ``letheon list`` shows."""

from __future__ import annotations

import pytest

from letheon.adapters import bounds as every
from letheon.catalogue import entries
from letheon.errors import RecipeError


def test_everything_is_listed_with_one_line() -> None:
    found = entries()
    assert list(found) == sorted(found)
    assert {"attacks", "bounds", "metrics", "objectives", "optimizers", "stabilisers"} < set(found)
    assert set(found["benchmarks"]) == {"people", "tofu", "tofu_log"} & set(found["benchmarks"])
    assert {"finetune", "gradient_ascent", "gradient_difference", "kl", "npo"} <= set(
        found["objectives"]
    )
    for kind in found.values():
        for line in kind.values():
            assert line.strip()
            assert "\n" not in line


def test_one_kind_is_listed_alone_and_bounds_say_their_range() -> None:
    assert entries("bounds") == {"bounds": entries()["bounds"]}
    bounds = entries("bounds")["bounds"]
    assert bounds["sine"] == "values within [-1, 1]"
    assert bounds["identity"] == "plain LoRA, no bound"
    assert list(bounds) == sorted(every.names())
    for name, line in bounds.items():
        sup = every.get(name).sup
        assert f"{sup:g}]" in line or sup == float("inf")


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"Got: objektives. Did you mean objectives\?"):
        entries("objektives")
