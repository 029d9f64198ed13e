"""The public surface is frozen: a change of it is a decision, made here as well."""

from __future__ import annotations

from importlib import import_module

import pytest

SURFACE = {
    "letheon": [
        "BoundedLoraConfig",
        "Recipe",
        "__version__",
        "evaluate",
        "load_recipe",
        "train",
        "unlearn",
    ],
    "letheon.errors": [
        "DataError",
        "DivergedError",
        "FolderError",
        "InputError",
        "LetheonError",
        "MetricError",
        "ModelError",
        "RecipeError",
        "RunError",
        "StorageError",
        "nearest",
    ],
    "letheon.folder": ["RunFolder", "environment", "replacing"],
    "letheon.report": [
        "Run",
        "Table",
        "attacks",
        "details",
        "failure_lines",
        "html",
        "load_comparison",
        "load_evidence",
        "load_run",
        "load_runs",
        "load_study",
        "markdown",
        "over_seeds",
        "run_lines",
        "score_lines",
        "study_html",
        "study_markdown",
        "table",
        "verdict",
    ],
    "letheon.registry": ["example", "load", "make", "names", "summary"],
}


@pytest.mark.parametrize("module", SURFACE)
def test_public_names_are_these(module: str) -> None:
    found = import_module(module)
    assert found.__all__ == SURFACE[module]
    for name in found.__all__:
        getattr(found, name)


@pytest.mark.parametrize("module", SURFACE)
def test_public_names_are_documented(module: str) -> None:
    found = import_module(module)
    assert [n for n in found.__all__ if not getattr(found, n).__doc__] == []
