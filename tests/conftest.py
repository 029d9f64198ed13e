"""Options, one thread, no network, and where the shared data sets are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import accelerator
import pipeline
from pipeline import Letheon

# Before any test imports torch or tokenizers: two threads on a busy small machine cost fifty times.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Here too: the conftest of a folder named on the command line may import the hub's client before
# pytest_configure runs.
if "--network" not in sys.argv and "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = {
    "slow": "run tests that take more than a few seconds",
    "gpu": "run tests that need an accelerator",
    "network": "run tests that need the Hugging Face hub",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, words in OPTIONS.items():
        parser.addoption(f"--{name}", action="store_true", help=words)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--gpu"):
        accelerator.need()
    if not config.getoption("--network"):
        os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for name in OPTIONS:
        if config.getoption(f"--{name}"):
            continue
        skip = pytest.mark.skip(reason=f"needs --{name}")
        for item in items:
            if item.get_closest_marker(name):
                item.add_marker(skip)


def data_root() -> Path:
    """Where the shared data sets are: LETHEON_DATA, else ../shared/data beside the project."""
    given = os.environ.get("LETHEON_DATA")
    return Path(given) if given else ROOT.parent / "shared" / "data"


def must_have(excuse: str) -> bool:
    """Whether an absence is a failure: in CI, unless it said by ``excuse`` that it has none."""
    return bool(os.environ.get("CI")) and not os.environ.get(excuse)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a function from a data set's name to its path; it skips when the path is absent."""

    def find(name: str) -> Path:
        path = data_root() / name
        if not path.exists():
            reason = f"{name} is not in $LETHEON_DATA or ../shared/data"
            (pytest.fail if must_have("LETHEON_NO_DATA") else pytest.skip)(reason)
        return path

    return find


@pytest.fixture
def letheon(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Letheon:
    """The command line in this process."""
    return Letheon(monkeypatch, capsys)


@pytest.fixture(scope="session")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny recipes: ``target``, ``gold``, ``gd-sine`` and ``npo-tanh``."""
    folder = tmp_path_factory.mktemp("recipes")
    pipeline.write(folder, pipeline.UNLEARN)
    pipeline.write(folder, pipeline.OTHER)
    return folder


@pytest.fixture(scope="session")
def home(recipes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny target and gold models, trained."""
    from letheon import recipe, run

    folder = tmp_path_factory.mktemp("home")
    loaded = recipe.load(recipes / "gd-sine.yaml")
    for which in ("model", "selection", "scoring"):
        run.prepare(loaded, which, home=folder)
    return folder


@pytest.fixture(scope="session")
def target(home: Path) -> Path:
    """The tiny target model's checkpoint."""
    return next(home.glob("target-*")) / "merged"


def _unlearned(name: str, recipes: Path, home: Path, out: Path) -> Path:
    from letheon import recipe, run

    return run.unlearn(recipe.load(recipes / f"{name}.yaml"), out / name, home=home).path


@pytest.fixture(scope="session")
def sine_run(recipes: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished tiny run of gradient difference on a sine adapter; not to be written into."""
    return _unlearned("gd-sine", recipes, home, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def tanh_run(recipes: Path, home: Path, sine_run: Path) -> Path:
    """The finished tiny run of NPO on a tanh adapter, beside ``sine_run``; not to be changed."""
    return _unlearned("npo-tanh", recipes, home, sine_run.parent)
