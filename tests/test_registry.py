"""The registry reads folders: what it offers, hides, describes, and how it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from letheon import registry
from letheon.errors import RecipeError

KINDS = ("metrics", "objectives", "adapters", "benchmarks")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "flowers"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Flowers."""\nMACHINERY = ("pot", "soil")\n')
    (folder / "rose.py").write_text('"""A rose.\n\nMore about it.\n"""\nVALUE = 3\n')
    (folder / "aster.py").write_text('"""An aster."""\nraise RuntimeError("imported")\n')
    (folder / "weed.py").write_text("x = 1\n")
    for hidden in ("pot", "soil", "_root"):
        (folder / f"{hidden}.py").write_text('"""Hidden."""\n')
    (folder / "notes.txt").write_text("not a module")
    (folder / "tree").mkdir()
    (folder / "tree" / "__init__.py").write_text('"""A tree."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "flowers"]:
        monkeypatch.delitem(sys.modules, name)
    return "flowers"


def test_names_are_sorted_and_leave_out_machinery_and_private_files(package: str) -> None:
    assert registry.names(package) == ["aster", "rose", "tree", "weed"]


def test_annotated_machinery_is_read_too(package: str, tmp_path: Path) -> None:
    init = tmp_path / "flowers" / "__init__.py"
    init.write_text('MACHINERY: tuple[str, ...] = ("rose", "weed")\n')
    assert registry.names(package) == ["aster", "pot", "soil", "tree"]


def test_summary_is_the_first_line_and_imports_nothing(package: str) -> None:
    assert registry.summary(package, "rose") == "A rose."
    assert registry.summary(package, "aster") == "An aster."  # importing it would raise
    assert registry.summary(package, "tree") == "A tree."
    assert registry.summary(package, "weed") == ""
    assert package not in sys.modules


def test_load_imports_the_module(package: str) -> None:
    assert registry.load(package, "rose").VALUE == 3


def test_an_example_fills_in_what_has_no_default(package: str, tmp_path: Path) -> None:
    rose = tmp_path / "flowers" / "rose.py"
    assert registry.example(package, "rose") == {}
    rose.write_text(
        '"""A rose."""\nfrom dataclasses import dataclass\nEXAMPLE = {"thorns": 3}\n'
        "@dataclass\nclass Rose:\n    thorns: int\nFLOWER = Rose\n"
    )
    del sys.modules["flowers.rose"]
    assert registry.make(package, "rose", registry.example(package, "rose")).thorns == 3
    with pytest.raises(RecipeError, match=r"no thorns"):
        registry.make(package, "rose", {})


@pytest.mark.parametrize("name", ["rsoe", "pot", "_root", "os.path", "../rose", ""])
def test_unknown_names_are_refused_with_the_nearest(package: str, name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        registry.load(package, name)
    assert repr(name) in str(caught.value)
    assert "Valid: aster, rose, tree, weed." in str(caught.value)
    with pytest.raises(RecipeError):
        registry.summary(package, name)


def test_the_nearest_name_comes_first(package: str) -> None:
    with pytest.raises(RecipeError, match=r"Did you mean rose\?"):
        registry.load(package, "rosse")


def test_a_missing_package_is_a_programming_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        registry.names("no_such_package")


def test_listing_every_kind_imports_no_torch() -> None:
    code = (
        "import sys\nfrom letheon import registry\n"
        f"for kind in {KINDS}:\n"
        "    package = f'letheon.{kind}'\n"
        "    for name in registry.names(package): registry.summary(package, name)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_offered_has_a_summary(kind: str) -> None:
    package = f"letheon.{kind}"
    bare = [name for name in registry.names(package) if not registry.summary(package, name)]
    assert bare == []
