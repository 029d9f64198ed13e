"""`letheon plan`: what it reads, what it says, what it advises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from letheon import plan as module
from letheon import recipe as recipes
from letheon.errors import InputError
from letheon.ui import console
from pipeline import UNLEARN, Letheon, changed, write


@pytest.fixture(scope="session")
def sine(recipes: Path) -> Path:
    return recipes / "gd-sine.yaml"


def test_every_part_and_the_sum_are_printed(sine: Path, letheon: Letheon) -> None:
    ended = letheon("plan", sine)
    assert ended.code == 0, ended.err
    for word in ("weights", "adapter", "optimizer", "activations", "training step", "peak", "fits"):
        assert word in ended.out
    assert "9 rows of" not in ended.out
    assert "7 rows of" in ended.out, "three to forget and four to retain"
    assert max(map(len, ended.out.splitlines())) <= 80


def test_json_has_the_numbers_of_the_table(sine: Path, letheon: Letheon) -> None:
    found = json.loads(letheon("plan", sine, "--card", "24GB", "--json").out)
    memory = found["memory"]
    parts = ("weights", "adapter", "optimizer", "gradients", "activations", "workspace")
    assert found["step"] == sum(memory[part] for part in parts)
    assert found["peak"] == found["other"] + max(
        found["step"], memory["answers"], memory["generations"]
    )
    assert (found["on"], found["card"], found["fits"]) == ("accelerator", 24e9, True)
    assert found["switches"] == []


def test_a_run_that_does_not_fit_is_told_what_to_switch_on(sine: Path) -> None:
    loaded = recipes.load(sine)
    whole = module.plan(loaded, on="accelerator", card=10**12)
    tight = module.plan(loaded, on="accelerator", card=whole.other + 1)
    assert not tight.fits
    assert tight.switches
    peaks = [whole.peak, *(switch.peak for switch in tight.switches)]
    assert peaks == sorted(peaks, reverse=True), "each saves more than those before it"
    settings = [s for switch in tight.switches for s in switch.settings]
    again = module.plan(recipes.override(loaded, settings), on="accelerator")
    assert again.peak == pytest.approx(peaks[-1], rel=1e-3)
    assert "training.accumulate=2" in settings


def test_no_weights_are_read(sine: Path, target: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in target.iterdir():
        if file.suffix != ".safetensors":
            (bare / file.name).write_bytes(file.read_bytes())
    from_path = changed(UNLEARN, model={"path": str(bare)}, gold={})
    place = write(tmp_path / "recipes", from_path, "bare")
    found = module.plan(recipes.load(place))
    assert found.memory == module.plan(recipes.load(sine)).memory


@pytest.mark.parametrize("kind", ["target", "gold"])
def test_a_training_run_is_planned_too(kind: str, recipes: Path) -> None:
    from letheon import recipe

    found = module.plan(recipe.load(recipes / f"{kind}.yaml"))
    assert found.memory.adapter == 0
    assert found.memory.gradients == pytest.approx(found.memory.weights, rel=0.01)


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GB", 24e9), ("80 GiB", 80 * 2**30), ("500mb", 5e8), ("1.5G", 1.5e9), ("7", 7)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: float) -> None:
    assert module.card_bytes(text) == size


@pytest.mark.parametrize("text", ["", "big", "24XB", "1.2.3GB", "-5GB", "0GB"])
def test_what_is_no_size_is_one_clear_error(text: str, sine: Path, letheon: Letheon) -> None:
    with pytest.raises(InputError, match="number with a unit"):
        module.card_bytes(text)
    ended = letheon("plan", sine, f"--card={text}")
    assert ended.code == 2
    assert "For example --card 24GB" in ended.err


def test_errors_are_those_of_the_run(sine: Path, letheon: Letheon) -> None:
    ended = letheon("plan", sine, "--processes", "9")
    assert ended.code == 2
    assert "must reach every process" in ended.err
    ended = letheon("plan", sine, "--set", "adapter.r=999")
    assert ended.code == 2
    assert "999" in ended.err


def test_a_plan_that_cannot_fit_says_so(capsys: Any, sine: Path) -> None:
    found = module.plan(recipes.load(sine), on="accelerator", card=1)
    module.show(found, "x", console())
    out = capsys.readouterr().out
    assert "does not fit" in out
    assert "no further switch helps" in out
