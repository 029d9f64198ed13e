"""A study's pages and its terminal: a table for each question, and 80 columns are enough."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from letheon import compare
from letheon.errors import DataError, FolderError
from letheon.folder import RunFolder
from letheon.report import load_study, study_html, study_markdown
from letheon.report.study_plots import front_plot, interval_plot
from letheon.study.show import show


def plain(made_up: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(made_up))
    return found


def test_the_page_answers_each_question(made_up: dict[str, Any]) -> None:
    text = study_markdown(plain(made_up))
    assert text.startswith(
        "# Study tiny\n\n1 of 2 methods forgot and kept over their seeds: gd-sine."
    )
    assert "3 random settings for each of 2 methods, tried on 1 tuning instance" in text
    assert "on the same rows with another gold model and other paraphrases" in text
    for line in (
        "| gd-sine | 0.300 [0.100, 0.500] | 0.060 [0.040, 0.080] | 0.990 [0.990, 0.990] | "
        "4 of 5 | passed |",
        "| npo-lora | 0.200 [0.200, 0.200] | 0.100 [0.100, 0.100] | 0.900 [0.900, 0.900] | "
        "3 of 5 | not passed |",
        "| gd-sine | 0.060 | 0.990 | 0.300 | yes |",
        "| allowed | 0.060 | 0.060 | 0.060 | 0.060 | 0.060 |",
        "| gd-sine | 2 of 3 [0.21, 0.94] | 1 of 3 [0.06, 0.79] | 0.700 | 0 of 3 | "
        "0.75 [0.50, 1.00], 1 of 2 open |",
        "| npo-lora | 0 of 3 [0.00, 0.56] | 0 of 3 [0.00, 0.56] | 0 | 1 of 3 | – |",
        "| gd-sine | 20.0 [20.0, 20.0] | 300 | 30 | 3 |",
        "| gd-sine | 1 | 0.010 | lr 0.002 |",
        "- npo-lora: 1 final runs diverged. Forget quality holds on 3 of 5 seeds",
        "- Command: letheon study",
    ):
        assert line in text
    assert "## Attacks" not in text


def test_attacks_have_a_table_when_there_are_any(made_up: dict[str, Any]) -> None:
    spread = {"value": 12.0, "low": 10.0, "high": 14.0, "n": 2}
    spread |= {"censored": 0}
    low = spread | {"value": -3.0, "low": -4.0, "high": -2.0}
    parts = {"method": spread, "gold": spread | {"value": 15.0}, "difference": low}
    open_ = spread | {"value": None, "n": 0, "censored": 2}
    both = {"relearn_steps": parts, "relearn_steps_all": dict.fromkeys(parts, open_)}
    made_up["methods"][0]["attacks"] = {"relearn": both}
    text = study_markdown(plain(made_up))
    assert "| Method | relearn: Relearn steps" in text
    assert "| gd-sine | 12.000 Δ -3.000 [-4.000, -2.000] | known for 0 of 2 Δ known for" in text
    assert "| npo-lora | – | – |" in text
    assert "| gold | 15.000 | known for 0 of 2 |" in text


def test_the_html_page_has_figures_and_loads_nothing(made_up: dict[str, Any]) -> None:
    made_up["methods"][1]["name"] = "<b>npo"
    page = study_html(plain(made_up))
    assert page.count("<figure>") == 4
    assert "<b>npo" not in page
    assert "&lt;b&gt;npo" in page
    assert not re.search(r"<(img|iframe)|(src|href)=\"(?!data:|#)", page)
    assert 'class="verdict mixed"' in page
    assert "Wilson&#39;s 95 % interval" in page


def test_the_front_stands_where_it_should(made_up: dict[str, Any]) -> None:
    plot = front_plot(plain(made_up))
    marks = re.findall(r'class="(mark[^"]*)" cx="([\d.]+)" cy="([\d.]+)"', plot)
    (first, sine_x, sine_y), (second, lora_x, lora_y) = marks
    assert (first, second) == ("mark front", "mark")
    assert float(sine_x) < float(lora_x), "nearer to gold is further left"
    assert float(sine_y) < float(lora_y), "more utility is higher up"
    assert plot.count('class="run"') == 9, "five runs and four; one diverged"
    for each in made_up["methods"]:
        each["scores"]["utility_share"] = None
    assert front_plot(plain(made_up)) == ""


def test_an_interval_is_drawn_in_proportion() -> None:
    plot = interval_plot("share", [("a", 0.5, 0.25, 1.0)], end=1.0)
    low, high = map(float, re.findall(r"M([\d.]+) [\d.]+L([\d.]+)", plot)[0])
    dot = float(re.findall(r'<circle class="mark" cx="([\d.]+)"', plot)[0])
    assert (dot - low) * 2 == pytest.approx(high - dot, abs=0.2)
    assert interval_plot("share", []) == ""


def test_a_terminal_of_80_columns_shows_it_all(made_up: dict[str, Any]) -> None:
    made_up["methods"][0]["name"] = "inverted-hinge-hard-tanh"
    stream = io.StringIO()
    show(plain(made_up), Console(file=stream, width=80, highlight=False))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "inverted-hinge" in text
    for word in ("4 of 5", "3 of 5", "passed", "not passed", "2 of 3", "0.300"):
        assert word in text
    assert "1 of 2 methods forgot and kept" in text


def test_a_study_that_cannot_decide_says_so(made_up: dict[str, Any]) -> None:
    for each in made_up["methods"]:
        each["verdict"]["passed"] = False
        each["verdict"]["criteria"][0] |= {"passed": False, "kind": "task"}
    assert "This study cannot decide" in study_markdown(plain(made_up))


def test_a_method_that_always_diverges_has_not_passed(made_up: dict[str, Any]) -> None:
    made_up["methods"][1] |= {"verdict": None, "failed": 5, "passed": [False] * 5}
    made_up["methods"][1]["scores"] = {"utility_share": None}
    made_up["methods"][1]["cost"]["seconds"] = None
    text = study_markdown(plain(made_up))
    assert "| npo-lora | – | – | – | 0 of 5 | not passed |" in text
    assert "- npo-lora: 5 final runs diverged.\n" in text


def test_report_writes_the_pages(made_up: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    RunFolder(folder).write_json("study.json", made_up)
    page = tmp_path / "page.md"
    assert compare.report([folder], markdown=page, title="People") == [page]
    assert page.read_text().startswith("# People\n")
    assert compare.report([folder]) == [folder / "report.html"]
    assert "Study tiny" in (folder / "report.html").read_text()
    with pytest.raises(FolderError, match="a Markdown page to itself"):
        compare.report([folder, folder], markdown=page)


def test_a_study_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_json("study.json", {"schema": 1, "name": "x", "methods": []})
    with pytest.raises(DataError, match="without protocol, references, runs"):
        load_study(tmp_path)
