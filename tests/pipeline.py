"""A whole pipeline at tiny size: recipes as plain mappings, and the command line in-process."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

PEOPLE = {
    "seed": 7,
    "n_forget": 3,
    "n_retain": 4,
    "n_unseen": 3,
    "rows_per_person": 2,
    "n_authors": 4,
    "n_world": 4,
}
COMMON: dict[str, Any] = {
    "data": {"benchmark": "people", "params": PEOPLE},
    "evaluation": {"max_new_tokens": 8},
}
TARGET: dict[str, Any] = {
    "kind": "train",
    "name": "target",
    "model": {
        "make": {
            "architecture": "llama",
            "vocab_size": 300,
            "config": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "max_position_embeddings": 256,
            },
        }
    },
    "training": {"steps": 4, "batch_size": 8, "lr": 1e-2, "checkpoint_every": 2},
    **COMMON,
}
GOLD: dict[str, Any] = TARGET | {"name": "gold", "train_on": ["retain", "background"]}
REFERENCES = ("target", "gold", "second_gold")
UNLEARN: dict[str, Any] = {
    "kind": "unlearn",
    "name": "gd-sine",
    "model": {"recipe": "target.yaml", "seed": 0},
    "gold": {
        "selection": {"recipe": "gold.yaml", "seed": 1},
        "scoring": {"recipe": "gold.yaml", "seed": 2},
    },
    "adapter": {"bound": "sine", "r": 4},
    "objective": {"name": "gradient_difference"},
    "training": {
        "steps": 6,
        "batch_size": 3,
        "retain_batch_size": 4,
        "lr": 1e-3,
        "probe_every": 3,
        "checkpoint_every": 2,
        "weights_every": 2,
        "select": {"score": "gold_distance", "direction": "down"},
    },
    **COMMON,
}

OTHER: dict[str, Any] = UNLEARN | {
    "name": "npo-tanh",
    "adapter": {"bound": "tanh", "r": 4},
    "objective": {"name": "npo"},
}


def changed(recipe: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """Return a copy of ``recipe`` with values put at ``a__b`` keys; None is a value."""
    result = copy.deepcopy(dict(recipe))
    for key, value in values.items():
        *parents, last = key.split("__")
        node = result
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return result


def write(folder: Path, recipe: Mapping[str, Any], name: str | None = None) -> Path:
    """Write ``recipe`` as YAML beside the target's and the gold model's."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in (TARGET, GOLD, recipe):
        place = folder / f"{each['name'] if each is not recipe or not name else name}.yaml"
        place.write_text(yaml.safe_dump(dict(each), sort_keys=False), encoding="utf-8")
    return place


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Letheon:
    """The command line in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> Ended:
        from letheon import cli

        self._monkeypatch.setattr(sys, "argv", ["letheon", *map(str, words)])
        self._capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        return Ended(code, *self._capsys.readouterr())

    def refuses(self, *words: str | Path, code: int = 2) -> str:
        """Run a command that must fail; return its one line on standard error."""
        ended = self(*words)
        assert ended.code == code, ended
        lines = [line for line in ended.err.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, ended.err
        assert ended.err.splitlines()[-1] == lines[0], ended.err
        assert "Traceback" not in ended.err
        return lines[0]


def listing(folder: Path) -> list[str]:
    """Name every file in ``folder``."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
