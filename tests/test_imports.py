"""Imports flow one way: the levels of docs/design/0001-contracts.md, no circles, no torch above."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
CONTRACTS = ROOT / "docs" / "design" / "0001-contracts.md"
TORCHLESS = ("letheon", "letheon.registry", "letheon.folder", "letheon.metrics", "letheon.report")
# A report must be remade from a run folder alone.
REPORT_MAY_IMPORT = {"report", "metrics", "folder", "errors"}

Graph = dict[str, set[str]]


def levels() -> dict[str, int]:
    """Read the table of the contracts page: part -> level."""
    text = CONTRACTS.read_text(encoding="utf-8").partition("## Levels")[2].split("```")[1]
    table: dict[str, int] = {}
    for line in text.strip().splitlines():
        level, *parts = re.sub(r"\(.*?\)", "", line).replace(",", " ").split()
        table |= dict.fromkeys(parts, int(level))
    return table


def modules(source: Path) -> dict[str, Path]:
    found = {}
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def targets(node: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Yield the dotted names an import statement may mean, the longest first."""
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom():
            base = node.module or ""
            if node.level:
                drop = node.level - is_package
                package = module.split(".")[: len(module.split(".")) - drop]
                base = ".".join([*package, *base.split(".")]).rstrip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def graph(source: Path) -> Graph:
    """Map each module to the modules of the same tree that it imports, anywhere in its file."""
    known = modules(source)
    edges: Graph = {}
    for module, file in known.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        named = (
            name
            for node in ast.walk(tree)
            for name in targets(node, module, file.name == "__init__.py")
        )
        resolved = (name if name in known else name.rpartition(".")[0] for name in named)
        edges[module] = {name for name in resolved if name in known and name != module}
    return edges


def part(module: str) -> str:
    """Name the part of the house that a module belongs to; "" for the package itself."""
    return [*module.split("."), ""][1]


def violations(edges: Graph, table: dict[str, int]) -> list[str]:
    found = []
    for module, imported in edges.items():
        own = part(module)
        if own in ("", "__main__"):  # the package's public names; the door to the command line
            continue
        for other in sorted(imported):
            there = part(other)
            if there not in ("", own) and table[there] >= table[own]:
                found.append(f"{module} ({table[own]}) imports {other} ({table[there]})")
    return found


def circle(edges: Graph) -> list[str]:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def edges() -> Graph:
    return graph(SOURCE)


def test_every_part_has_a_level(edges: Graph) -> None:
    parts = {part(module) for module in edges} - {"", "__main__"}
    assert parts - levels().keys() == set()


def test_imports_go_down_only(edges: Graph) -> None:
    assert violations(edges, levels()) == []


def test_no_circles(edges: Graph) -> None:
    assert circle(edges) == []


def test_the_report_reads_folders_only(edges: Graph) -> None:
    report = [module for module in edges if part(module) == "report"]
    used = {part(other) for module in report for other in edges[module]} - {""}
    assert used <= REPORT_MAY_IMPORT


@pytest.mark.parametrize("module", TORCHLESS)
def test_computing_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the reader itself, on a tree that breaks every rule


@pytest.fixture
def broken(tmp_path: Path) -> Graph:
    files = {
        "house/__init__.py": "from house.roof import tile",
        "house/floor.py": "def f():\n    from house import roof\n",
        "house/wall/__init__.py": "from .door import knob",
        "house/wall/door.py": "from ..roof import tile\nimport os, sys",
        "house/wall/window.py": "import house.wall.door as d\nfrom house import __version__",
        "house/roof.py": "from house.wall.door import knob\nfrom . import tower",
        "house/tower.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return graph(tmp_path)


def test_the_graph_is_read_right(broken: Graph) -> None:
    assert broken == {
        "house": {"house.roof"},
        "house.floor": {"house.roof"},
        "house.wall": {"house.wall.door"},
        "house.wall.door": {"house.roof"},
        "house.wall.window": {"house.wall.door", "house"},
        "house.roof": {"house.wall.door", "house.tower"},
        "house.tower": set(),
    }


def test_upward_and_sideways_imports_are_found(broken: Graph) -> None:
    table = {"floor": 0, "wall": 1, "roof": 2, "tower": 2}
    assert violations(broken, table) == [
        "house.floor (0) imports house.roof (2)",
        "house.roof (2) imports house.tower (2)",
        "house.wall.door (1) imports house.roof (2)",
    ]


def test_a_circle_is_found(broken: Graph) -> None:
    assert set(circle(broken)) == {"house.roof", "house.wall.door"}


def test_the_table_is_read_from_the_contracts() -> None:
    table = levels()
    assert table["errors"] == 0
    assert table["report"] == table["release"] == 5
    assert "reads" not in table
