"""`letheon.unlearn` with objects: a model in memory, rows in Python, an objective of one's own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest
import torch

import letheon
from letheon import run
from letheon.data.files import read_examples
from letheon.errors import DataError, DivergedError, InputError, ModelError
from letheon.objectives.contract import LossTerms, Needs, Objective, State, Term, Views
from letheon.objectives.npo import NPO
from strangers import people, somebody_elses

ROWS = [{"question": q, "answer": a} for q, a in people()]
GONE, KEPT = ROWS[3:6], ROWS[:3] + ROWS[6:]


@pytest.fixture
def model() -> Any:
    return copy.deepcopy(somebody_elses()[0])


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return somebody_elses()[1]


def answer(model: Any, tokenizer: Any, question: str) -> str:
    prompt = tokenizer(f"Question: {question}\nAnswer:", return_tensors="pt")
    out = model.generate(**prompt, max_new_tokens=16, do_sample=False, pad_token_id=0)
    said = out[0, prompt["input_ids"].shape[1] :]
    return str(tokenizer.decode(said, skip_special_tokens=True)).strip()


def known(model: Any, tokenizer: Any, rows: list[dict[str, str]]) -> list[bool]:
    facts = [row["answer"].split()[-1].rstrip(".") for row in rows]
    said = [answer(model, tokenizer, row["question"]) for row in rows]
    return [fact in each for fact, each in zip(facts, said, strict=True)]


def test_a_model_in_memory_forgets_rows_and_another_request_follows(
    model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    model.lm_head.weight.requires_grad_(False)
    first = letheon.unlearn(
        model, tokenizer, forget=GONE, retain=KEPT, out=tmp_path / "a", progress=False
    )
    assert first.model is model, "the object that was given"
    assert not any(known(model, tokenizer, GONE))
    assert sum(known(model, tokenizer, KEPT)) >= 0.95 * len(KEPT)
    assert {s["name"]: s["value"] for s in first.scores["before"]}["forget.rouge_l_recall"] == 1
    assert "no verdict" in str(first)
    # As it was, but for what it forgot.
    assert not model.training
    assert not any("lora" in name or "base_layer" in name for name, _ in model.named_modules())
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trains == {n for n, _ in model.named_parameters()} - {"model.embed_tokens.weight"}
    # What is on disk is what is in memory.
    merged = letheon.unlearn(
        copy.deepcopy(somebody_elses()[0]), tokenizer, forget=GONE, retain=KEPT, out=tmp_path / "a"
    )
    assert merged.model is not model, "a finished run is loaded"
    for name, weight in merged.model.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
    second = letheon.unlearn(
        model,
        tokenizer,
        forget=[tuple(row.values()) for row in ROWS[9:12]],
        retain=KEPT[:6] + KEPT[9:],
        out=tmp_path / "b",
        settings={"training.steps": 1},
        progress=False,
    )
    assert second.model is model
    assert second.report(texts=True).is_file()


def test_rows_are_kept_where_the_recipe_finds_them(
    model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    short = {"training.steps": 1, "training.probe_every": 1, "training.checkpoint_every": 1}
    letheon.unlearn(model, tokenizer, forget=GONE, retain=KEPT, out=out, settings=short)
    recipe = letheon.load_recipe(out / "recipe.yaml")
    assert recipe.data.forget is not None
    assert [e.answer for e in read_examples(recipe.data.forget)] == [r["answer"] for r in GONE]
    told = json.loads((out / "environment.json").read_text(encoding="utf-8"))
    assert told["model"].startswith("memory:")
    with pytest.raises(ModelError, match="object in memory"):
        run.validate(recipe)


@dataclass(frozen=True)
class Louder(Objective):
    """Raise the loss of what is to be forgotten: one of the user's own."""

    forget_weight: float = 1.0

    @property
    def needs(self) -> Needs:
        return Needs(retain=False)

    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        assert model.forget is not None
        logp = model.forget.logp()
        return LossTerms({"forget": Term(logp.sum(), len(logp), "forget_token", 1.0)})


class Broken(Louder):
    def loss(self, model: Views, reference: Views, state: State) -> LossTerms:
        raise DivergedError("It breaks.", remedy="None.")


SHORT = {"training.steps": 2, "training.probe_every": 1, "training.checkpoint_every": 1}


@pytest.mark.parametrize("objective", [NPO(beta=0.3), Louder(0.5)], ids=["npo", "own"])
def test_an_objective_is_an_object(
    objective: Objective, model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    before = model.model.layers[0].mlp.up_proj.weight.clone()
    found = letheon.unlearn(
        model,
        tokenizer,
        forget=GONE,
        retain=KEPT,
        method=objective,
        settings=SHORT,
        out=tmp_path / "run",
    )
    choice = letheon.load_recipe(found.folder.at("recipe.yaml")).objective
    if isinstance(objective, NPO):
        assert (choice.name, choice.params["beta"]) == ("npo", 0.3)
    else:
        assert (choice.name, choice.params) == ("Louder", {"forget_weight": 0.5})
    assert not torch.equal(before, model.model.layers[0].mlp.up_proj.weight)


def test_a_failed_run_gives_the_model_back(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(DivergedError):
        letheon.unlearn(
            model, tokenizer, forget=GONE, retain=KEPT, method=Broken(), out=tmp_path / "run"
        )
    assert list(before) == list(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    "as_rows",
    [
        lambda rows: rows,
        lambda rows: iter(rows),
        lambda rows: [(row["question"], row["answer"]) for row in rows],
        lambda rows: datasets.Dataset.from_list(rows),
        lambda rows: pandas.DataFrame(rows),
        lambda rows: [
            {
                "messages": [
                    {"role": "user", "content": row["question"]},
                    {"role": "assistant", "content": row["answer"]},
                ]
            }
            for row in rows
        ],
    ],
    ids=["mappings", "iterator", "pairs", "datasets", "pandas", "chats"],
)
def test_rows_of_every_kind_are_the_same(as_rows: Callable[[Any], Any]) -> None:
    found = read_examples(as_rows(ROWS), prefix="forget")
    assert [(e.question, e.answer) for e in found] == people()
    assert found[3].id == "forget/3"


def test_texts_and_what_a_data_frame_lacks() -> None:
    assert [e.answer for e in read_examples(["A text.", "Another."])] == ["A text.", "Another."]
    frame = pandas.DataFrame({"question": ["a?", "b?"], "answer": ["x", "y"], "unit": ["u", None]})
    assert [e.unit for e in read_examples(frame, prefix="r")] == ["u", "r/1"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "has rows"),
        (3, "list of rows"),
        ({"question": "a?", "answer": "x"}, "list of rows"),
        ([3], "row 0"),
        ([("a?", "x"), ("b?",)], "row 1"),
        ([{"question": "a?", "answer": object()}], "row 0"),
        ([{"question": "a?", "answer": "x", "unit": float("nan")}], "row 0"),
        ([{"question": "a?", "answer": "\ud800"}], "row 0"),
        ([{"question": "a?"}], "answer"),
    ],
)
def test_wrong_rows_are_named(rows: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_examples(rows, prefix="forget")


def wrong(**words: Any) -> Callable[[Any, Any, Path], Any]:
    def call(model: Any, tokenizer: Any, out: Path) -> Any:
        given = {"model": model, "tokenizer": tokenizer, "forget": GONE, "retain": KEPT, **words}
        return letheon.unlearn(given.pop("model"), given.pop("tokenizer"), out=out, **given)

    return call


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (wrong(model=torch.nn.Linear(2, 2)), "causal language model"),
        (wrong(tokenizer=None), "comes with its tokenizer"),
        (wrong(model="somewhere"), "brings its tokenizer"),
        (wrong(forget=None), "what to forget"),
        (wrong(method="nop"), "npo"),
        (wrong(method=NPO), "A method is a name"),
        (wrong(settings={"training.stepz": 3}), "steps"),
        (wrong(settings={"merged": False}), "merged"),
        (wrong(settings={"after": "runs/a"}), "after"),
        (wrong(settings={"gold.scoring.recipe": "g.yaml"}), "gold.scoring"),
        (wrong(forget="nowhere.jsonl"), "nowhere"),
    ],
)
def test_wrong_objects_are_named_and_nothing_is_written(
    call: Callable[[Any, Any, Path], Any], said: str, model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        call(model, tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recipe_says_all(tmp_path: Path) -> None:
    recipe = letheon.Recipe.model_validate(
        {
            "kind": "unlearn",
            "name": "own",
            "model": {"path": "nowhere/at-all"},
            "data": {"forget": "f.jsonl", "retain": "r.jsonl"},
            "objective": {"name": "npo"},
            "training": {"steps": 1},
        }
    )
    with pytest.raises(InputError, match="forget"):
        letheon.unlearn(recipe, forget=GONE, out=tmp_path / "out")
    with pytest.raises(DataError, match=r"f\.jsonl"):
        letheon.unlearn(recipe, out=tmp_path / "out")
