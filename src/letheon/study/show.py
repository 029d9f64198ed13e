"""A study's outcome for a terminal of 80 columns."""

from __future__ import annotations

__all__ = ["show"]

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from letheon.report import study_tables


def show(study: Mapping[str, Any], console: Console) -> None:
    """Print what was compared, a table with a row for each method, and the verdict in words."""
    console.print(Text(study_tables.protocol(study)))
    laid = study_tables.overview(study)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for k, header in enumerate(laid.headers):
        told = header.replace(" ", "\n", 1)
        table.add_column(told, justify="left" if k == 0 else "right", overflow="fold")
    styles = {"passed": "green", "not passed": "red", "cannot decide": "yellow"}
    for cells, mark in zip(laid.rows, laid.marks, strict=True):
        # Break a cell before its bracket, not inside it.
        table.add_row(*(Text(cell.replace(" [", "\n[")) for cell in cells), style=styles.get(mark))
    console.print(table)
    console.print(Text(study_tables.verdict(study)), style="bold")
