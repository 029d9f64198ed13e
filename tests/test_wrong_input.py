"""Wrong input by the command line: one error with rule, value and remedy, exit 2, nothing written.

Wrong data files are in tests/test_own_data.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import Letheon, listing
from strangers import people, saved

REQUEST = ["unlearn", "--model", "model", "--forget", "forget.jsonl", "--retain", "keep.jsonl"]
RECIPE = """\
kind: unlearn
name: own
model: {path: model}
data: {forget: forget.jsonl, retain: keep.jsonl}
objective: {name: npo}
adapter: {bound: sine}
training: {steps: 1}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, rows and a recipe, and with what is wrong."""
    home = tmp_path_factory.mktemp("home")
    model = saved(home / "model", trained=False)
    for name, rows in (("forget", people()[:3]), ("keep", people()[3:])):
        text = "".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows)
        (home / f"{name}.jsonl").write_text(text, encoding="utf-8")
    for name, content in _RECIPES.items():
        (home / f"{name}.yaml").write_bytes(content)
    for name, spoil in _SPOILT.items():
        spoil(Path(shutil.copytree(model, home / name)))
    (home / "empty").mkdir()
    (home / "file").write_text("not a folder", encoding="utf-8")
    (home / "full").mkdir()
    (home / "full" / "thesis.txt").write_text("all I have", encoding="utf-8")
    return home


def _config(**changes: Any) -> Callable[[Path], object]:
    def spoil(model: Path) -> None:
        file = model / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes), encoding="utf-8")

    return spoil


def _cut(name: str) -> Callable[[Path], object]:
    return lambda model: (model / name).write_bytes((model / name).read_bytes()[:-40])


_RECIPES = {
    "own": RECIPE.encode(),
    "broken": b"kind: [unlearn\n",
    "twice": RECIPE.encode() + b"name: other\n",
    "list": b"- kind: unlearn\n",
    "latin": "kind: unlearn # é\n".encode("latin-1"),
    "trains": RECIPE.replace("unlearn", "train").encode(),
    "needless": RECIPE.replace("path: model", "path: model, seed: -1").encode(),
    "nothing": b"",
}
_SPOILT: dict[str, Callable[[Path], object]] = {
    "encoder": _config(model_type="vit", architectures=["ViTModel"]),
    "unheard": _config(model_type="lama"),
    "deeper": _config(num_hidden_layers=3),
    "wider": _config(hidden_size=64),
    "truncated": _cut("model.safetensors"),
    "no-config": lambda model: (model / "config.json").unlink(),
    "no-weights": lambda model: (model / "model.safetensors").unlink(),
    "no-words": lambda model: (model / "tokenizer.json").unlink(),
    "broken-words": _cut("tokenizer.json"),
}


def recipe(name: str, *settings: str) -> list[str]:
    return ["unlearn", f"{name}.yaml", *sets(*settings)]


def request(*words: str) -> list[str]:
    return [*REQUEST, *words]


def sets(*settings: str) -> list[str]:
    return [word for each in settings for word in ("--set", each)]


def model(name: str) -> list[str]:
    return ["unlearn", "--model", name, "--forget", "forget.jsonl", "--retain", "keep.jsonl"]


# The command; of the message: the rule, the value, the remedy.
WRONG: list[tuple[list[str], list[str]]] = [
    # Recipes.
    (recipe("nowhere"), ["recipe", "nowhere.yaml"]),
    (recipe("broken"), ["YAML", "broken.yaml"]),
    (recipe("twice"), ["'name' comes twice", "twice.yaml"]),
    (recipe("list"), ["mapping", "list.yaml"]),
    (recipe("latin"), ["UTF-8", "latin.yaml"]),
    (recipe("nothing"), ["nothing.yaml"]),
    (recipe("trains"), ["trains.yaml"]),
    (recipe("needless"), ["seed", "-1"]),
    (recipe("own", "training.stepz=3"), ["Unknown key", "training.stepz", "Did you mean steps?"]),
    (recipe("own", "training.steps"), ["KEY=VALUE", "training.steps", "For example"]),
    (recipe("own", "objective.name=nop"), ["objectives", "'nop'", "Did you mean npo"]),
    (recipe("own", "objective.params.bta=1"), ["parameter of npo", "bta", "Did you mean beta?"]),
    (recipe("own", "objective.params.beta=much"), ["npo", "beta = 'much'", "Mend"]),
    ([*recipe("own"), "--model", "model"], ["all of a run", "--model", "--set"]),
    (["unlearn"], ["--model and --forget", "neither", "For example"]),
    (["unlearn", "--model", "model"], ["--model and --forget", "--model", "For example"]),
    # Models.
    (model("./gone"), ["A model is a folder", "no such folder", "Check the path"]),
    (model("./empty"), ["A model is a folder", "./empty", "Check the path"]),
    (model("./file"), ["A model is a folder", "./file", "Check the path"]),
    *(
        (model(f"./{name}"), ["A model is a folder", f"./{name}, whose", "Check the path"])
        for name in _SPOILT
    ),
    # Folders.
    (request("--out", "file"), ["needs a folder", "the file file", "Choose another --out"]),
    (request("--out", "full"), ["an empty folder", "full with thesis.txt", "Choose another --out"]),
    (["report", "full"], ["scores.json", "full", "finished run"]),
    (["merge", "full", "--out", "merged"], ["adapter", "full", "full weights"]),
    (["scrub", "full"], ["full"]),
    (["chat", "full", "Who?"], ["full"]),
    (["attack", "full"], ["full"]),
    (["compare", "full"], ["full"]),
    # Devices.
    (["plan", *REQUEST[1:], "--card", "24XB"], ["24XB", "24GB"]),
    (request(*sets("training.processes=2")), ["as many processes", "processes says 2", "torchrun"]),
    (request(*sets("model.quantise=3bit")), ["quantise", "3bit", "4bit"]),
    (request(*sets("model.dtype=float8")), ["dtype", "float8", "float32"]),
    # Values.
    (request("--method", "nop"), ["--method", "nop", "Did you mean npo"]),
    (request("--bound", "sin"), ["--bound", "sin", "Did you mean sine"]),
    (request("--template", "Q: A:"), ["placeholder", "Q: A:"]),
    (request(*sets("training.steps=0")), ["training.steps", "0"]),
    (request(*sets("training.lr=-1")), ["training.lr", "-1"]),
    (request(*sets("training.lr=fast")), ["training.lr", "fast"]),
    (request(*sets("training.batch_size=2.5")), ["training.batch_size", "2.5"]),
    (request(*sets("training.epochs=1", "training.steps=1")), ["steps", "epochs"]),
    (request(*sets("training.optimizer.name=adam")), ["optimizers", "'adam'", "adamw"]),
    (request(*sets("training.select.score=gate_gap")), ["gate_gap", "gold.selection"]),
    (request(*sets("adapter.r=0")), ["adapter.r", "0"]),
    (request(*sets("adapter.target_modules=[mpl]")), ["names layers of the model", "mpl", "mlp"]),
    (request(*sets("evaluation.metrics=[roge]")), ["names metrics", "roge", "rouge"]),
    (request(*sets("evaluation.max_new_tokens=4000")), ["128 positions", "4000", "max_new_tokens"]),
    (request(*sets("data.columns.question=q")), ["data.columns.question", "'q'", "question"]),
]


def test_at_least_forty_kinds() -> None:
    from test_own_data import WRONG as FILES

    commands = {" ".join(words) for words, _ in WRONG}
    assert len(commands) == len(WRONG) >= 40
    assert len(FILES) >= 30


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(w)[:60] for w, _ in WRONG])
def test_wrong_input_is_one_error_and_nothing_is_written(
    words: list[str], said: list[str], home: Path, letheon: Letheon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    before = listing(home)
    line = letheon.refuses(*words)
    for each in said:
        assert each in line
    assert listing(home) == before
