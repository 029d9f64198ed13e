"""Options, one thread, no network, and where the shared data sets are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Before any test imports torch or tokenizers: two threads on a busy small machine cost fifty times.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

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
