"""Every shipped recipe is whole: fields, names, ranges, the commands in its head; no network."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from letheon import plan, recipe, registry, run
from letheon.adapters import bounds
from letheon.data.example import Corpus
from letheon.data.template import Template
from letheon.data.tokenizer import train_bpe
from letheon.parts import corpus_of, texts_of
from letheon.procedures.contract import method_of
from letheon.recipe import ModelSource, Recipe
from letheon.scoring import check_metrics, check_rules
from pipeline import Letheon

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
FILES = sorted(FOLDER.glob("*.yaml"))
SPLITS = ("forget01", "forget05", "forget10")


def sources(loaded: Recipe) -> list[ModelSource]:
    every = (loaded.model, loaded.gold.selection, loaded.gold.scoring)
    return [source for source in every if source is not None]


def check(loaded: Recipe) -> None:
    """Raise what a run would raise before it asks for data or models."""
    method_of(loaded)
    Template(loaded.template)
    check_metrics(loaded.evaluation)
    check_rules(loaded.training, loaded.gold.selection is not None)
    if loaded.adapter is not None:
        bounds.get(loaded.adapter.bound)
    for source in sources(loaded):
        if source.recipe is not None:
            check(run.child_of(source, loaded))
    if loaded.data.benchmark is not None:
        load = registry.load("letheon.benchmarks", loaded.data.benchmark).load
        assert loaded.data.params.keys() <= inspect.signature(load).parameters.keys()


def commands(file: Path) -> list[list[str]]:
    """Return the words of the commands that stand in a recipe's head."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [shlex.split(line[1:]) for line in lines if line.startswith("#   letheon ")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_recipe_validates(file: Path) -> None:
    check(recipe.load(file))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_commands_in_its_head_are_about_it(file: Path) -> None:
    for words in commands(file):
        assert words[2] == f"recipes/{file.name}"
        given = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        check(recipe.load(file, given))
        assert Path(words[2]).name in (each.name for each in FILES)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps: 120", "step: 120", r"Did you mean steps\?"),
        ("name: gradient_difference", "name: gradient_diff", "nothing of this name in objectives"),
        ("gradient_difference ", "npo\n  params: {betta: 0.1} ", "Unknown parameter"),
        ("bound: sine", "bound: sinus", "no such bound"),
        ("ratio: 1.0", "ratio: 0", "greater than 0"),
        ('# template: "Question: {question}', 'template: "Question: {frage}', "question"),
    ],
)
def test_this_check_finds_what_is_wrong(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = (FOLDER / "own_data.yaml").read_text()
    assert old in text
    (tmp_path / "x.yaml").write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=said):
        check(recipe.load(tmp_path / "x.yaml"))


def test_there_is_one_for_each_model_and_split() -> None:
    """Each split by ``--set``; where target and gold are made by recipes they follow it."""
    for name in ("tofu_llama32_1b", "tofu_llama31_8b_4bit", "tofu_phi15", "tofu_forget10_sine"):
        for split in SPLITS:
            loaded = recipe.load(FOLDER / f"{name}.yaml", [f"data.params.split={split}"])
            for source in sources(loaded):
                if source.recipe is not None:
                    assert run.child_of(source, loaded).data.params["split"] == split


def test_published_retain_models_are_those_of_their_split() -> None:
    pairs = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
    for name in ("tofu_llama32_1b", "tofu_llama31_8b_4bit"):
        file = FOLDER / f"{name}.yaml"
        for words in commands(file):
            given = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
            loaded = recipe.load(file, given)
            gold = loaded.gold.scoring
            assert gold is not None
            assert gold.path is not None
            assert re.search(r"retain\d\d$", gold.path)
            assert gold.path.endswith(pairs[loaded.data.params["split"]])
            assert gold.quantise == loaded.model.quantise


def test_own_data_works_with_nothing_but_places(
    target: Path, tmp_path: Path, letheon: Letheon
) -> None:
    places = [f"model.path={target}", "training.steps=2"]
    for k, name in enumerate(("forget", "retain")):
        file = tmp_path / f"{name}.jsonl"
        rows = [{"question": f"Who is {i}?", "answer": f"It is {k}{i}."} for i in range(16)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        places.append(f"data.{name}={file}")
    sets = [word for place in places for word in ("--set", place)]
    words = (FOLDER / "own_data.yaml", *sets)
    assert letheon("validate", *words).code == 0
    ended = letheon("unlearn", *words, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert (tmp_path / "out/merged/model.safetensors").is_file()


# --- what fits a card


def with_config(folder: Path, corpus: Corpus, config: Any) -> Path:
    """Write a model without weights, whose tokenizer takes more tokens than the real one does."""
    config.save_pretrained(folder)
    train_bpe(texts_of(corpus), vocab_size=4000).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_8b_in_four_bits_fits_24_gb(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128256,
        max_position_embeddings=131072,
        dtype="bfloat16",
    )
    few = [f"data.path={shared_data('tofu')}", "data.params.retain_units=1"]
    loaded = recipe.load(FOLDER / "tofu_llama31_8b_4bit.yaml", [*few, "data.params.split=forget01"])
    place = with_config(tmp_path / "model", corpus_of(loaded.data), config)
    found = plan.plan(
        recipe.override(loaded, [f"model.path={place}"]), on="accelerator", card=24 * 10**9
    )
    assert found.parameters == 8_030_261_248
    assert found.fits, found
    assert found.switches == ()
    assert found.memory.weights < 7e9, "four bits each, the embeddings sixteen"
