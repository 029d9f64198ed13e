"""The page and the pictures of scripts/figures.py, from the lines that are kept of its runs."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from letheon.report.plots import Series
from letheon.report.sheet import Panel, sheet

Row = Mapping[str, Any]
STEP, NORM, SIZE, PEAK, ACTIVE, RETAIN = range(6)

# Which lines share a panel: six are as many as can be told apart.
PANELS = {
    "bounds": ("LoRA", "sine", "tanh"),
    "LoRA held back": (
        "LoRA",
        "clip_factors 0.1",
        "clip_change 0.5",
        "spectral_norm 1",
        "l2_product 0.01",
    ),
    "LoRA trained otherwise": (
        "LoRA",
        "weight decay 1",
        "gradient clipping 0.1",
        "a tenth of the rate",
        "forget_lr a tenth",
    ),
}
FILA = ("LoRA", "LoRA from FILA", "sine", "sine from FILA")

HEAD = """# The paper's figures, remade

Gradient norm and size of the change along an ascent, for plain LoRA, two bounds and everything the
bound is compared with ([../stability.md](../stability.md)); and what omega, bound size, rank,
forget weight and number of steps do. Made by:

```bash
{command}
```

Fictitious people, a Llama of two layers and width 64 trained to know them, rank 16 on the MLPs,
{steps} steps, no warm-up, populations {seeds} (data, model and adapter of each differ). The
learning rate is 6e-3 for LoRA and 2e-3 for bounded adapters (as in the demo), omega 100,
`scale = 1/sqrt(in)`, alpha = 2r. **Ascent** is the forget loss alone, 8 rows a step. **Gradient
difference** has forget weight 1, some twenty times what the demo found good, and 16 retain rows a
step: aggressive on purpose. Nothing is tuned and no run is stopped: these are trajectories, not a
ranking of methods. Each stabiliser has *one* setting, chosen so that it acts. {hardware}, one
thread; {seconds:.0f} CPU seconds for {runs} runs, those of the target models included. The data:
[figures/](figures).

Lines are medians over populations; tables give the median and, in brackets, the smallest and the
largest. *Gradient norm* is that of all factors together before clipping; *growth* is the largest
divided by that of the first five steps (a sine's gradient carries omega, so only growth compares
across bounds). *Size of dW* is its Frobenius norm over all adapted matrices at the last step;
*bound acts* is the share of entries whose slope has fallen below half. *Forget probability* and
*utility* (a share of the target's) are probed at the end, on other wordings than those trained on.
"""


def read(folder: Path) -> list[dict[str, Any]]:
    """Return what is kept of every run."""
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def write(rows: Sequence[Row], out: Path) -> None:
    """Draw the pictures into ``out/figures`` and write ``out/figures.md``."""
    import figures

    by: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by[row["figure"]][row["variant"]].append(row)
    titles = {"ascent": "Pure ascent", "difference": "Gradient difference, forget weight 1"}
    head = HEAD.format(
        command="low python scripts/figures.py --out docs/results",
        steps=figures.STEPS,
        seeds=", ".join(map(str, sorted({row["seed"] for row in rows}))),
        hardware=processor(),
        seconds=sum(row["cpu_seconds"] for row in rows),
        runs=len(rows),
    )
    text = [head]
    for figure, title in titles.items():
        picture(out / "figures" / f"{figure}.svg", by[figure], title)
        text += [f"\n## {title}\n", f"![{title}](figures/{figure}.svg)\n", table(by[figure])]
    activity(out / "figures" / "activity.svg", by)
    text += ["\n## Whether the bound acts\n", "![Bound activity](figures/activity.svg)\n"]
    above = {
        f"{name} as above": [
            run for run in by["difference"][name] if run["seed"] in figures.SENSITIVITY_SEEDS
        ]
        for name in ("sine", "LoRA")
    }
    text += ["\n## Sensitivity, gradient difference\n"]
    text += [
        f"Population {', '.join(map(str, figures.SENSITIVITY_SEEDS))} alone: hints, without an "
        "interval. What is not named is as above (sine, omega 100, scale 0.125 for inputs of 64 "
        "and 0.0625 for 256, rank 16, weight 1).\n",
        table(by["sensitivity"] | above),
        "\n### Number of steps: the loss terms of the run with weight 1\n",
        steps_table(by["difference"]),
    ]
    (out / "figures.md").write_text("\n".join(text), encoding="utf-8")


def processor() -> str:
    """Name the processor that this machine says it has."""
    file = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", file.read_text()) if file.is_file() else None
    return found[1] if found else "a CPU"


def picture(path: Path, runs: Mapping[str, Sequence[Row]], title: str) -> None:
    """Draw gradient norms in one row of panels and sizes of the change in the next."""
    groups = dict(PANELS) | ({"informed start": FILA} if FILA[1] in runs else {})
    panels = [
        Panel(f"{words}: {name}", lines(runs, members, column), log=True)
        for column, words in ((NORM, "gradient norm"), (SIZE, "size of dW"))
        for name, members in groups.items()
    ]
    label = f"{title}: gradient norm and size of the change by step"
    path.write_text(sheet(panels, label=label, columns=len(groups)), encoding="utf-8")


def activity(path: Path, by: Mapping[str, Mapping[str, Sequence[Row]]]) -> None:
    """Draw the share of entries where the bound acts, and the largest entry of the change."""
    panels = [
        Panel(f"{words}, {name}", lines(by[figure], PANELS["bounds"], column))
        for column, words in ((ACTIVE, "share where the bound acts"), (PEAK, "max |dW|"))
        for figure, name in (("ascent", "ascent"), ("difference", "difference"))
    ]
    label = "Share of entries where the bound acts, and largest entry of the change, by step"
    path.write_text(sheet(panels, label=label, columns=2), encoding="utf-8")


def lines(runs: Mapping[str, Sequence[Row]], names: Sequence[str], column: int) -> list[Series]:
    """Return the median over populations of a column, one line a variant."""
    found = []
    for name in names:
        if every := runs.get(name):
            rows = zip(*(run["points"] for run in every), strict=False)
            points = [(at[0][STEP], median(row[column] for row in at)) for at in rows]
            found.append(Series(name, points))
    return found


MEASURES: Mapping[str, Callable[[Row], float]] = {
    "largest gradient norm": lambda run: max(point[NORM] for point in run["points"]),
    "growth": lambda run: max(p[NORM] for p in run["points"]) / run["points"][0][NORM],
    "size of dW": lambda run: run["points"][-1][SIZE],
    "max abs dW": lambda run: run["points"][-1][PEAK],
    "bound acts": lambda run: run["points"][-1][ACTIVE],
    "forget probability": lambda run: run["probes"][-1][1],
    "utility": lambda run: run["probes"][-1][2],
}


def table(runs: Mapping[str, Sequence[Row]]) -> str:
    """Return a table of every variant's measures."""
    head = ["variant", "n", *MEASURES]
    body = []
    for name, every in runs.items():
        ended = [run for run in every if run["failed"] is None and run["probes"]]
        cells = [spread([measure(run) for run in ended]) for measure in MEASURES.values()]
        lost = len(every) - len(ended)
        body.append([name, f"{len(ended)}" + (f" ({lost} diverged)" if lost else ""), *cells])
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *body])


def steps_table(runs: Mapping[str, Sequence[Row]]) -> str:
    """Return the retain term (mean NLL of the step's retain rows, nats a token) along the way."""
    at = [25, 50, 75, 100]
    head = ["retain term at step", "n", *map(str, at)]
    body = []
    for name, every in runs.items():
        found = [{int(p[STEP]): p[RETAIN] for p in run["points"]} for run in every]
        cells = [spread([f[step] for f in found if step in f]) for step in at]
        body.append([name, str(len(every)), *cells])
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *body])


def spread(values: Sequence[float]) -> str:
    """Return ``median (smallest to largest)`` in few digits."""
    if not values:
        return ""
    low, middle, high = (f"{v:.2g}" for v in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"
