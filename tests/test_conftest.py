"""The test house itself: what is skipped without an option, and where data sets are looked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import accelerator


@pytest.fixture
def data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Callable[[str], Path]
) -> Callable[[str], Path]:
    (tmp_path / "tofu").mkdir()
    monkeypatch.setenv("LETHEON_DATA", str(tmp_path))
    return shared_data


def test_a_data_set_is_found_by_name(data: Callable[[str], Path], tmp_path: Path) -> None:
    assert data("tofu") == tmp_path / "tofu"


def test_an_absent_data_set_skips(
    data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="absent is not in"):
        data("absent")


def test_an_absent_data_set_fails_in_ci(
    data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "1")
    monkeypatch.delenv("LETHEON_NO_DATA", raising=False)
    with pytest.raises(pytest.fail.Exception, match="absent is not in"):
        data("absent")


def test_gpu_tests_that_are_asked_for_are_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(pytest.UsageError, match="--gpu needs a CUDA device"):
        accelerator.need()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    accelerator.need()


@pytest.mark.slow
def test_slow_needs_its_option(request: pytest.FixtureRequest) -> None:
    assert request.config.getoption("--slow")


@pytest.mark.gpu
def test_gpu_needs_its_option(request: pytest.FixtureRequest) -> None:
    assert request.config.getoption("--gpu")


@pytest.mark.network
def test_network_needs_its_option(request: pytest.FixtureRequest) -> None:
    assert request.config.getoption("--network")


def test_threads_and_the_hub_are_held_back(request: pytest.FixtureRequest) -> None:
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert request.config.getoption("--network") or os.environ["HF_HUB_OFFLINE"] == "1"
