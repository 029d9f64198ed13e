"""Recipes: what is read, what is refused and in which words, what names a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import pipeline
from letheon import recipe
from letheon.errors import RecipeError
from letheon.recipe._recipe import without_paths
from pipeline import GOLD, TARGET, UNLEARN, changed


def load(folder: Path, raw: dict[str, Any], *overrides: str) -> recipe.Recipe:
    return recipe.load(pipeline.write(folder, raw, "case"), overrides)


def test_a_dumped_recipe_is_the_same_recipe(tmp_path: Path) -> None:
    for raw in (TARGET, GOLD, UNLEARN):
        first = recipe.resolve(raw, where="here")
        again = recipe.resolve(yaml.safe_load(recipe.dump(first)), where="there")
        assert again == first


def test_a_recipe_that_is_written_elsewhere_names_the_same_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.write(tmp_path / "recipes", UNLEARN, "case")
    monkeypatch.chdir(tmp_path)
    first = recipe.load("recipes/case.yaml")
    place = Path("runs/deep/x")
    place.mkdir(parents=True)
    (place / "recipe.yaml").write_text(recipe.dump(first, beside=place))
    again = recipe.load(place / "recipe.yaml")
    assert str(tmp_path) not in (place / "recipe.yaml").read_text()
    for one, other in ((first.model, again.model), (first.gold.scoring, again.gold.scoring)):
        assert one is not None
        assert other is not None
        assert Path(str(one.recipe)).resolve() == Path(str(other.recipe)).resolve()
    absolute = recipe.load(tmp_path / "recipes/case.yaml")
    assert recipe.dump(absolute, beside=place) == recipe.dump(absolute)


def test_overrides_are_yaml_and_scientific_numbers_are_numbers(tmp_path: Path) -> None:
    words = ("training.lr=1e-4", "seed=7", "adapter.attention=true", "evaluation.metrics=[rouge]")
    found = load(tmp_path, UNLEARN, *words)
    assert (found.training.lr, found.seed) == (1e-4, 7)
    assert found.adapter is not None
    assert found.adapter.attention is True
    assert found.evaluation.metrics == ["rouge"]
    assert load(tmp_path, UNLEARN, "adapter=null").adapter is None


def test_recipes_named_inside_are_beside_this_one(tmp_path: Path) -> None:
    found = load(tmp_path, UNLEARN)
    assert found.model.recipe == str(tmp_path / "target.yaml")
    assert found.gold.scoring is not None
    assert found.gold.scoring.recipe == str(tmp_path / "gold.yaml")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.lrr=1", r"Unknown key.*Got: training.lrr. Did you mean lr\?"),
        ("trainng.lr=1", r"Unknown key.*trainng. Did you mean training\?"),
        ("training.select.require=[{score: a, value: 1, scor: 2}]", "require.0.scor. Did you mean"),
        ("data.columns.foo=1", "data.columns.foo"),
        ("training.lr=[1", r"valid YAML. Got: '\[1'.*in line 1, column 3"),
        ("training.lr=!!python/name:os.system x", "valid YAML.*could not determine"),
        ("training.lr", "An override is KEY=VALUE"),
        ("=3", "An override is KEY=VALUE"),
        ("training.lr=nan", "finite number. Got: training.lr = nan"),
        ("training.lr=.inf", "finite number. Got: training.lr = inf"),
        ("training.lr=0", "greater than 0"),
        ("training.lr=", "valid number. Got: training.lr = None"),
        ("training={steps: 1, offload_optimizer: true, parallel: fsdp2}", "goes with parallel ddp"),
        (
            "training={steps: 1, offload_optimizer: true, mixed_precision: fp16}",
            "offload_optimizer goes with mixed_precision bf16 or no",
        ),
        ("training.balance={every: 2}", "no training.balance.ratio"),
        ("training.balance={ratio: 0}", "greater than 0"),
        ("training.balance={ratio: 1, evry: 2}", r"balance.evry. Did you mean every\?"),
        ("training={steps: 1, patience: 2}", "patience goes by select and probe_every"),
        ("adapter.scale=wide", "adapter.scale"),
        ("seed.x=1", "valid integer. Got: seed"),
        ("seed=-1", "greater than or equal to 0. Got: seed = -1"),
        ("seed=99999999999999999999", "less than"),
        ("name=a/b", "pattern.*name = 'a/b'"),
        ("training.epochs=3", "either steps or epochs"),
        ("objective.name=finetune", "an unlearn recipe needs an objective"),
        ("kind=train", "a train recipe's objective is finetune"),
        ("model={path: x, recipe: y}", "exactly one of path, recipe, make"),
        ("model={make: {}}", "kind unlearn has path or recipe"),
        ("gold.scoring={make: {}}", "a gold model has path or recipe"),
        ("train_on=[retain]", "kind unlearn does not use train_on"),
        ("data.forget=x.jsonl", "benchmark does not use forget"),
        ("data={forget: a.jsonl}", "either a benchmark or forget and retain files"),
        ("data={forget: a.jsonl, retain: b.jsonl, path: c}", "files does not use path"),
        ("data.unseen=x.jsonl", "benchmark does not use unseen"),
        ("data.long_rows=split", "split is for forget and retain files"),
        ("data.long_rows=cut", "'refuse' or 'split'"),
        ("data={forget: a, retain: b, max_tokens: 99}", "max_tokens goes with data.long_rows"),
        ("data={forget: a, retain: b, long_rows: split, max_tokens: 1}", "greater than or equal"),
    ],
)
def test_a_wrong_override_is_refused_by_name(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load(tmp_path, UNLEARN, override)


@pytest.mark.parametrize(
    "override",
    [
        "adapter={r: 4}",
        "gold={scoring: {path: x}}",
        "training.select={}",
        "training.probe_every=3",
        "training.probe_from=2",
        "training.stop_at={score: x, value: 1}",
        "training.balance={ratio: 1}",
    ],
)
def test_settings_that_training_would_leave_alone_are_refused(
    tmp_path: Path, override: str
) -> None:
    key = override.partition("=")[0]
    with pytest.raises(RecipeError, match=f"kind train does not use {key}"):
        load(tmp_path, TARGET, override)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe\x00\x81", "readable UTF-8"),
        (b"kind: \x01", "valid YAML"),
        (b"kind: train\n  name: [x\n", "valid YAML.*line 2"),
        (b"kind: 2020-99-99", "valid YAML.*month must be in"),
        (b"? [a]\n: 3\n", "valid YAML.*unhashable"),
        (b"kind: train\nkind: unlearn\n", "the key 'kind' comes twice in line 2"),
        (b"- a\n", "mapping of keys"),
        (b"", "mapping of keys"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)
    with pytest.raises(RecipeError, match=words) as caught:
        recipe.load(file)
    assert "broken.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_or_nothing_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a folder at"):
        recipe.load(tmp_path)
    with pytest.raises(RecipeError, match="no file at"):
        recipe.load(tmp_path / "nope.yaml")


def fingerprint(raw: dict[str, Any]) -> str:
    return recipe.resolve(raw, where="here").fingerprint({"data": "d"})


def test_paths_do_not_name_a_run_and_everything_else_does() -> None:
    by_path = changed(UNLEARN, model={"path": "/here"}, gold={})
    assert fingerprint(by_path) == fingerprint(changed(by_path, model={"path": "/there"}))
    others = [
        changed(by_path, seed=1),
        changed(by_path, training__lr=1.0),
        changed(by_path, data__params__seed=8),
        changed(by_path, model={"path": "/here", "revision": "x"}),
        changed(by_path, template="plain"),
        changed(by_path, training__offload_optimizer=True),
    ]
    assert len({fingerprint(raw) for raw in [by_path, *others]}) == 7
    for key, value in (("processes", 2), ("parallel", "fsdp2"), ("gradient_checkpointing", True)):
        assert fingerprint(changed(by_path, **{f"training__{key}": value})) == fingerprint(by_path)
    assert fingerprint(changed(by_path, training__offload_optimizer=False)) == fingerprint(by_path)
    checks = recipe.resolve(by_path, where="here").fingerprint
    assert checks({"a": "1", "b": "2"}) == checks({"b": "2", "a": "1"}) != checks({"a": "1"})


def test_the_rules_on_their_page_are_a_recipes() -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "rules.md"
    block = yaml.safe_load(page.read_text(encoding="utf-8").split("```")[1].removeprefix("yaml"))
    found = recipe.resolve(
        UNLEARN | {k: UNLEARN.get(k, {}) | v for k, v in block.items()}, where="page"
    )
    assert found.adapter is not None
    assert (found.adapter.omega, found.adapter.scale) == ("auto", "auto")
    assert found.training.balance is not None
    assert found.training.patience == 3


def test_what_is_not_asked_for_leaves_the_identity_alone() -> None:
    plain = recipe.resolve(UNLEARN, where="here")
    given = UNLEARN | {"training": UNLEARN["training"] | {"patience": None, "balance": None}}
    assert "balance" not in str(without_paths(plain.model_dump(mode="json")))
    assert recipe.resolve(given, where="here").fingerprint({}) == plain.fingerprint({})


def test_where_rows_are_is_no_part_of_the_identity_but_how_they_are_cut_is() -> None:
    own = changed(UNLEARN, data={"forget": "a.jsonl", "retain": "b.jsonl"})
    plain = recipe.resolve(own, where="here").fingerprint({})
    moved = changed(own, data__forget="/x/a.csv", data__unseen="/x/c.csv")
    assert recipe.resolve(moved, where="here").fingerprint({}) == plain
    found = str(without_paths(recipe.resolve(own, where="here").model_dump(mode="json")))
    assert "long_rows" not in found
    assert "max_tokens" not in found
    cut = changed(own, data__long_rows="split")
    assert recipe.resolve(cut, where="here").fingerprint({}) != plain
