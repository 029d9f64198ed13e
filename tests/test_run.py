"""The pipeline end to end at tiny size, and what stops it: wrong input, a full disk, a kill."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import pipeline
from letheon import models, processes, recipe, run
from letheon.errors import (
    DataError,
    DivergedError,
    FolderError,
    InputError,
    LetheonError,
    StorageError,
)
from letheon.folder import RunFolder
from letheon.metrics import compute_all
from letheon.metrics.gate import judge
from letheon.metrics.records import read
from letheon.metrics.verdict import Limits
from letheon.recipe import ModelSource
from letheon.run import _unlearn
from letheon.run._steps import to_score
from letheon.training import loop
from pipeline import UNLEARN, Letheon, changed, listing

FILES = {
    "identity.json",
    "recipe.yaml",
    "environment.json",
    "progress.jsonl",
    "examples.parquet",
    "private/texts.jsonl",
    "reference/target.parquet",
    "reference/gold.parquet",
    "reference/second_gold.parquet",
    "scores.json",
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
    "merged/config.json",
    "merged/model.safetensors",
    "merged/tokenizer.json",
    "checkpoints/last.pt",
    "manifest.json",
}
ROWS = [
    {
        "question": f"Who is number {i}?",
        "answer": f"Number {i} paints in town {7 * i}.",
        "unit": f"u{i // 2}",
        "paraphrased_answer": f"A painter of town {7 * i} is number {i}.",
    }
    for i in range(12)
]


def unlearn(
    folder: Path, raw: dict[str, Any], home: Path | None = None, *overrides: str, out: str = "out"
) -> RunFolder:
    loaded = recipe.load(pipeline.write(folder / "recipes", raw, "case"), overrides)
    return run.unlearn(loaded, folder / out, home=home)


def scores(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "scores.json").read_text()))


def steps(folder: Path) -> list[dict[str, Any]]:
    events = RunFolder(folder).progress()
    return [{k: e[k] for k in ("step", "terms")} for e in events if e["event"] == "step"]


def tokens(folder: Path, text: str = "Question: Who is it?\nAnswer: Nobody") -> Any:
    return AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")


# --- a finished run


def test_a_run_folder_holds_every_file_and_its_manifest_verifies(sine_run: Path) -> None:
    assert set(listing(sine_run)) >= FILES
    RunFolder(sine_run).verify_manifest()
    assert not [name for name in listing(sine_run.parent) if "tmp" in name]


def test_the_recipe_in_its_folder_repeats_a_run(
    recipes: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipes.parent)
    first = recipe.load(f"{recipes.name}/gd-sine.yaml", ["training.steps=1"])
    made = run.unlearn(first, tmp_path / "run", home=home)
    again = recipe.load(made.at("recipe.yaml"))
    assert run.unlearn(again, made.path, home=home).identity() == made.identity()
    assert not made.at("private/reference").exists(), "target and gold have their own texts"


def test_progress_tells_steps_weights_and_probes(sine_run: Path) -> None:
    events = RunFolder(sine_run).progress()
    steps = [e for e in events if e["event"] == "step"]
    assert [e["step"] for e in steps] == [1, 2, 3, 4, 5, 6]
    assert set(steps[0]["terms"]) == {"forget", "retain"}
    assert [e["step"] for e in events if e["event"] == "probe"] == [3, 6]
    weights = [e for e in events if e["event"] == "weights"]
    assert [e["step"] for e in weights] == [2, 4, 6]
    assert len(weights[0]["matrices"]) == 3
    assert sum(e.get("name") == "training" for e in events) == 1


def test_texts_stay_in_private(sine_run: Path) -> None:
    lines = (sine_run / "private/texts.jsonl").read_text().splitlines()
    answer = max((json.loads(line)["answer"] for line in lines), key=len)
    for name in FILES - {"private/texts.jsonl"}:
        assert answer.encode() not in (sine_run / name).read_bytes(), name


def test_a_report_is_told_what_the_facts_are_and_that_they_may_be_shown(sine_run: Path) -> None:
    assert RunFolder(sine_run).read_json("environment.json")["public"] is True
    rows = map(json.loads, (sine_run / "private/texts.jsonl").read_text().splitlines())
    told = [row["answer"][a:b] for row in rows if row["split"] == "forget" for a, b in row["facts"]]
    assert len(told) > 5
    assert all(told)


def test_merged_is_an_ordinary_checkpoint_equal_to_model_and_adapter(
    sine_run: Path, target: Path
) -> None:
    inputs = tokens(target)
    base = AutoModelForCausalLM.from_pretrained(target).eval()
    merged = AutoModelForCausalLM.from_pretrained(sine_run / "merged").eval()
    with torch.no_grad():
        before = base(**inputs).logits
        adapted = PeftModel.from_pretrained(base, str(sine_run / "adapter")).eval()
        after = adapted(**inputs).logits
        torch.testing.assert_close(merged(**inputs).logits, after, atol=1e-5, rtol=1e-5)
    assert (after - before).abs().max() > 1e-4


def test_scores_are_those_of_the_records(sine_run: Path) -> None:
    found = scores(sine_run)
    records = read(sine_run / "examples.parquet")
    known = {name: read(sine_run / f"reference/{name}.parquet") for name in pipeline.REFERENCES}
    again, skipped = compute_all(records, known["gold"])
    assert found["scores"] == json.loads(json.dumps([score.to_json() for score in again]))
    assert found["skipped"] == [entry._asdict() for entry in skipped]
    verdict = judge(
        records,
        target=known["target"],
        gold=known["gold"],
        second_gold=known["second_gold"],
        limits=Limits(utility=0.98),
    )
    assert found["gate"]["passed"] == verdict.passed is False
    assert [c["value"] for c in found["gate"]["criteria"]] == pytest.approx(
        [c.value for c in verdict.criteria], rel=1e-12
    )
    assert found["reference_seeds"] == {"target": 0, "gold": 2, "second_gold": 1}


def test_the_same_command_again_returns_at_once(
    sine_run: Path, recipes: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(loop, "run", never)
    before = {name: (sine_run / name).stat().st_mtime_ns for name in listing(sine_run)}
    homes = {name: (home / name).stat().st_mtime_ns for name in listing(home)}
    run.unlearn(recipe.load(recipes / "gd-sine.yaml"), sine_run, home=home)
    assert before == {name: (sine_run / name).stat().st_mtime_ns for name in listing(sine_run)}
    assert homes == {name: (home / name).stat().st_mtime_ns for name in listing(home)}


def interrupted(tmp_path: Path, home: Path, raw: dict[str, Any] = UNLEARN) -> recipe.Recipe:
    """Begin a run in ``out`` and interrupt it at step 5; return its recipe."""

    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 5:
            raise KeyboardInterrupt

    loaded = recipe.load(pipeline.write(tmp_path / "recipes", raw))
    with pytest.raises(KeyboardInterrupt):
        run.unlearn(loaded, tmp_path / "out", home=home, watch=interrupt)
    return loaded


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    sine_run: Path, home: Path, tmp_path: Path
) -> None:
    loaded = interrupted(tmp_path, home)
    assert not (tmp_path / "out/manifest.json").exists()
    events: list[dict[str, Any]] = []
    run.unlearn(loaded, tmp_path / "out", home=home, watch=events.append)
    assert next(e["step"] for e in events if e["event"] == "resume") == 4
    assert steps(tmp_path / "out") == steps(sine_run)
    assert scores(tmp_path / "out")["scores"] == scores(sine_run)["scores"]
    RunFolder(tmp_path / "out").verify_manifest()


def test_an_interrupted_run_goes_on_with_less_memory(
    sine_run: Path, home: Path, tmp_path: Path
) -> None:
    interrupted(tmp_path, home)
    less = changed(UNLEARN, training__gradient_checkpointing=True)
    folder = unlearn(tmp_path, less, home)
    for mine, other in zip(steps(folder.path), steps(sine_run), strict=True):
        assert mine["step"] == other["step"]
        assert mine["terms"] == pytest.approx(other["terms"], abs=1e-6)


def test_an_informed_run_goes_on_from_the_start_it_had(home: Path, tmp_path: Path) -> None:
    raw = changed(UNLEARN, adapter__start="fila", adapter__start_batches=1)
    loaded = interrupted(tmp_path, home, raw)
    start = tmp_path / "out/checkpoints/start.safetensors"
    written = start.stat().st_mtime_ns
    folder = run.unlearn(loaded, tmp_path / "out", home=home)
    assert start.stat().st_mtime_ns == written
    assert [event["step"] for event in steps(folder.path)] == [1, 2, 3, 4, 5, 6]
    ids = tokens(folder.path / "merged")
    base = AutoModelForCausalLM.from_pretrained(next(home.glob("target-*")) / "merged")
    plain = base(**ids).logits.detach()
    adapted = PeftModel.from_pretrained(base, folder.path / "adapter")(**ids).logits
    merged = AutoModelForCausalLM.from_pretrained(folder.path / "merged")(**ids).logits
    torch.testing.assert_close(adapted, merged, rtol=0, atol=1e-5)
    assert not torch.allclose(plain, merged, atol=1e-4)


def test_other_gold_models_make_it_another_run(sine_run: Path, recipes: Path, home: Path) -> None:
    loaded = recipe.load(recipes / "gd-sine.yaml")
    again = loaded.model_copy(
        update={"gold": loaded.gold.model_copy(update={"scoring": loaded.gold.selection})}
    )
    with pytest.raises(FolderError, match="holds one run"):
        run.unlearn(again, sine_run, home=home)


def test_another_gold_recipe_makes_it_another_run(
    sine_run: Path, home: Path, tmp_path: Path
) -> None:
    case = pipeline.write(tmp_path, UNLEARN)
    pipeline.write(tmp_path, changed(pipeline.GOLD, training__lr=2e-2), "gold")
    with pytest.raises(FolderError, match="holds one run"):
        run.unlearn(recipe.load(case), sine_run, home=home)


# --- wrong input: one error each, before anything is written

OWN = changed(UNLEARN, gold={}, training__select=None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objective__name": "npoo"}, r"nothing of this name in objectives.*Did you mean npo\?"),
        ({"objective__params": {"bet": 1}}, "Unknown parameter of gradient_difference. Got: bet"),
        ({"objective__params": {"forget_weight": "x"}}, "valid number.*forget_weight = 'x'"),
        ({"data__benchmark": "tofuu"}, r"nothing of this name in benchmarks.*Did you mean tofu\?"),
        ({"data__params": {"n_forgett": 1}}, r"Unknown parameter of the benchmark people"),
        ({"data__params": {"n_forget": "x"}}, "valid integer.*data.params.n_forget = 'x'"),
        ({"data__params": {"n_forget": 0}}, "somebody to forget"),
        ({"data": {"benchmark": "tofu", "path": "/nope"}}, "no file /nope/forget10_perturbed"),
        ({"evaluation__metrics": ["rogue"]}, r"names metrics. Got: rogue. Did you mean rouge\?"),
        ({"evaluation__max_new_tokens": 9}, "Generations are compared at one length.*9 in gd-sine"),
        ({"adapter": {"bound": "sinee"}}, r"no such bound.*Did you mean sine\?"),
        ({"adapter": {"r": 33}}, "rank cannot be above.*gate_proj is 64 x 32. Got: r = 33"),
        ({"adapter": {"target_modules": ["nope"]}}, r"Got: nope; layers.*\*.mlp.down_proj"),
        ({"adapter": {"target_modules": ["norm"]}}, "Only linear layers.*LlamaRMSNorm"),
        ({"adapter": {"start": "fila"}, "training__parallel": "fsdp2"}, "goes with.*parallel ddp"),
        ({"training__stabilisers": [{"name": "clip"}]}, "nothing of this name in stabilisers"),
        (
            {"training__stabilisers": [{"name": "spectral_norm", "params": {"limit": 1}}]},
            "not a bounded function",
        ),
        ({"template": "chatt"}, "A template is a name or a text"),
        ({"template": "chat"}, "needs a tokenizer with a chat template"),
        ({"training__select": {"score": "foo"}}, "training.select.score foo. Valid: forget_prob"),
        ({"training__stop_at": {"score": "foo", "value": 1}}, "training.stop_at foo"),
        ({"training__accumulate": 4}, "3 rows for 4 pieces"),
        ({"model": {"recipe": "case.yaml"}}, "named by a recipe of kind train"),
        ({"model": {"recipe": "nope.yaml"}}, "no file at"),
        ({"model": {"path": "/nope"}}, "/nope, whose model does not load: there is no such folder"),
        ({"gold": {}}, "training.select.score gold_distance.*It needs gold.selection"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(
    home: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    before = listing(home)
    with pytest.raises(InputError, match=words) as caught:
        unlearn(tmp_path, changed(UNLEARN, **change), home)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()
    assert listing(home) == before


def test_a_wrong_adapter_is_refused_before_the_target_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rank"):
        unlearn(tmp_path, changed(UNLEARN, adapter={"r": 33}), tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_model_that_cannot_recompute_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    config = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    make = {"architecture": "gpt_neox_japanese", "vocab_size": 300, "config": config}
    target = changed(pipeline.TARGET, model={"make": make}, name="japanese")
    pipeline.write(tmp_path / "recipes", target)
    raw = changed(
        OWN,
        model={"recipe": "japanese.yaml"},
        adapter={"target_modules": ["dense_h_to_4h"]},
        training__gradient_checkpointing=True,
    )
    with pytest.raises(InputError, match=r"gpt_neox_japanese: .*does not support") as caught:
        unlearn(tmp_path, raw, tmp_path / "home")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "home").exists()
    assert not (tmp_path / "out").exists()


def test_a_metric_without_its_gold_model_is_refused_at_the_start(
    home: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="compares with a gold model"):
        unlearn(tmp_path, changed(OWN, evaluation__metrics=["forget_quality"]), home)
    assert not (tmp_path / "out").exists()


def test_recipes_of_the_other_kind_are_refused(recipes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="letheon train runs recipes of kind train"):
        run.train(recipe.load(recipes / "gd-sine.yaml"), tmp_path / "out")
    with pytest.raises(InputError, match="letheon unlearn runs recipes of kind unlearn"):
        run.unlearn(recipe.load(recipes / "target.yaml"), tmp_path / "out")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("where", ["another run", "foreign files", "a file"])
def test_a_folder_that_is_taken_stays_as_it_is(
    where: str, sine_run: Path, recipes: Path, home: Path, tmp_path: Path
) -> None:
    out = {"another run": sine_run, "foreign files": recipes, "a file": recipes / "gold.yaml"}[
        where
    ]
    before = listing(out.parent)
    # No target is in this home: a folder that no run may use is refused before training one.
    empty = tmp_path / "home"
    with pytest.raises(FolderError, match="Choose another --out"):
        run.unlearn(
            recipe.load(recipes / "npo-tanh.yaml"),
            out,
            home=home if where == "another run" else empty,
        )
    assert listing(out.parent) == before
    assert not empty.exists()


def test_a_text_longer_than_the_models_context_is_refused(
    target: Path, tmp_path: Path, home: Path
) -> None:
    long = [{"question": "Why?", "answer": "so " * 400}]
    with pytest.raises(InputError, match=r"256 positions\. Got: a row of"):
        unlearn(tmp_path, own(tmp_path, target, forget=long))
    with pytest.raises(InputError, match=r"256 positions.*max_new_tokens 250.*max_new_tokens to"):
        unlearn(tmp_path, changed(own(tmp_path, target), evaluation__max_new_tokens=250))
    assert not (tmp_path / "out").exists()


# --- own files


def own(
    folder: Path, model: Path, *, forget: Any = None, retain: Any = None, **data: Any
) -> dict[str, Any]:
    """Return a recipe on own JSONL files and a saved model."""
    files = {"forget": forget or ROWS[:6], "retain": retain or ROWS[6:]}
    for name, rows in files.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    places = {name: str(folder / f"{name}.jsonl") for name in files}
    return changed(OWN, model={"path": str(model)}, data={**places, **data})


def test_own_files_and_a_saved_model_are_enough(target: Path, tmp_path: Path) -> None:
    folder = unlearn(tmp_path, own(tmp_path, target)).path
    found = scores(folder)
    names = {score["name"] for score in found["scores"]}
    assert {"forget.probability", "retain.probability", "forget.rouge_l_recall"} <= names
    assert {entry["name"] for entry in found["skipped"]} >= {"forget_quality", "gold_distance"}
    assert found["gate"] is None


def test_own_files_with_a_gold_model_say_why_the_gate_cannot_judge(
    target: Path, tmp_path: Path
) -> None:
    raw = changed(
        own(tmp_path, target), gold={k: {"path": str(target)} for k in ("selection", "scoring")}
    )
    found = scores(unlearn(tmp_path, raw).path)
    assert found["gate"] is None
    assert "paraphrased_nll" in {e["name"]: e["reason"] for e in found["skipped"]}["gate"]


def test_false_answers_in_some_rows_only_do_not_stop_a_run(target: Path, tmp_path: Path) -> None:
    some = [
        row | ({"perturbed_answer": ["a b", "c"]} if i % 2 else {}) for i, row in enumerate(ROWS)
    ]
    folder = unlearn(tmp_path, own(tmp_path, target, forget=some[:6], retain=some[6:])).path
    probes = [e["scores"] for e in RunFolder(folder).progress() if e["event"] == "probe"]
    assert all(0 < p["utility_ratio"] < 2 for p in probes)


def test_facts_are_forgotten_only_where_they_are_marked(target: Path, tmp_path: Path) -> None:
    raw = changed(own(tmp_path, target), training__forget_tokens="facts")
    with pytest.raises(DataError, match=r"every forget row has a marked fact. Got: 6 of 6 rows"):
        unlearn(tmp_path, raw)
    assert not (tmp_path / "out").exists()


def test_only_the_tokens_of_facts_are_forgotten(home: Path, tmp_path: Path) -> None:
    found = {}
    for tokens in ("answer", "facts"):
        raw = changed(UNLEARN, training__forget_tokens=tokens, training__steps=1)
        folder = unlearn(tmp_path / tokens, raw, home)
        found[tokens] = next(e for e in folder.progress() if e["event"] == "step")["terms"]
    assert found["facts"]["forget"] != pytest.approx(found["answer"]["forget"], abs=1e-3)
    assert found["facts"]["retain"] == pytest.approx(found["answer"]["retain"])


def test_the_gap_of_a_probe_is_what_the_gate_still_asks_for(sine_run: Path) -> None:
    for event in (e for e in RunFolder(sine_run).progress() if e["event"] == "probe"):
        probe = event["scores"]
        short = max(0.0, 0.98 - probe["utility_ratio"])
        more = probe["gate_gap"] - probe["gold_distance"] - short
        assert more > -1e-9
        assert more == pytest.approx(0.0, abs=1e-9) or probe["forget_quality"] < 0.05


@pytest.mark.parametrize(
    ("forget", "words"),
    [
        ("", "A data file has rows. Got: .*forget.jsonl has none"),
        (
            '{"question": "a", "answer": "b"}\n{"question": "a"}\n',
            "'answer'. Got: forget.jsonl, line 2",
        ),
        ('{"question": "a\\ud800", "answer": "b"}\n', "A row is JSON. Got: forget.jsonl, line 1"),
        ("[" * 100_000, "A row is JSON.*recursion"),
        ("5\n", "JSON object. Got: 5 in forget.jsonl, line 1"),
        (None, "must be there. Got: no file .*forget.jsonl"),
    ],
)
def test_broken_data_names_file_and_line(
    target: Path, tmp_path: Path, forget: str | None, words: str
) -> None:
    raw = own(tmp_path, target)
    file = tmp_path / "forget.jsonl"
    file.unlink() if forget is None else file.write_text(forget)
    with pytest.raises(InputError, match=words):
        unlearn(tmp_path, raw)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("objective", ["gradient_difference", "kl"])
def test_full_weights_are_unlearned_without_an_adapter(
    objective: str, target: Path, tmp_path: Path
) -> None:
    raw = changed(own(tmp_path, target), adapter=None, objective={"name": objective})
    folder = unlearn(tmp_path, raw).path
    assert not (folder / "adapter").exists()
    assert (folder / "merged/model.safetensors").is_file()
    assert models.checksum(folder / "merged") != models.checksum(target)


# --- other models and tokenizers


def altered(target: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """Copy the target with its tokenizer changed."""
    shutil.copytree(target, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    change(tokenizer)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_tokenizer_without_a_pad_token_gives_the_same_run(target: Path, tmp_path: Path) -> None:
    def unpad(tokenizer: Any) -> None:
        tokenizer.pad_token = None

    bare = altered(target, tmp_path / "bare", unpad)
    assert AutoTokenizer.from_pretrained(bare).pad_token is None
    with_pad = unlearn(tmp_path, own(tmp_path, target), out="with").path
    without = unlearn(tmp_path, own(tmp_path, bare), out="without").path
    assert steps(with_pad) == steps(without)
    assert scores(with_pad)["scores"] == scores(without)["scores"]


def test_a_chat_template_is_used(target: Path, tmp_path: Path) -> None:
    def chat(tokenizer: Any) -> None:
        tokenizer.chat_template = (
            "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}"
        )

    model = altered(target, tmp_path / "chat", chat)
    chatted = unlearn(tmp_path, own(tmp_path, model), out="chat-run").path
    plain = unlearn(tmp_path, changed(own(tmp_path, model), template="plain"), out="plain").path
    assert steps(chatted) != steps(plain)


@pytest.mark.parametrize(
    "make",
    [
        {"architecture": "gpt2", "config": {"n_embd": 32, "n_layer": 1, "n_head": 2}},
        {
            "architecture": "gpt_neox",
            "config": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            },
        },
    ],
    ids=lambda make: make["architecture"],
)
def test_other_architectures_run_from_recipe_to_scores(
    make: dict[str, Any], tmp_path: Path
) -> None:
    for raw in (pipeline.TARGET, pipeline.GOLD):
        short = changed(raw, model={"make": {"vocab_size": 300, **make}}, training__steps=2)
        pipeline.write(tmp_path / "recipes", short)
    case = tmp_path / "recipes/case.yaml"
    case.write_text(recipe.dump(recipe.resolve(changed(OWN, training__steps=2), where="here")))
    folder = run.unlearn(recipe.load(case), tmp_path / "out")
    folder.verify_manifest()
    AutoModelForCausalLM.from_pretrained(folder.at("merged"))


def test_an_architecture_without_mlps_names_its_linear_layers(tmp_path: Path, home: Path) -> None:
    mamba = {"architecture": "mamba", "vocab_size": 300, "config": {"hidden_size": 32}}
    pipeline.write(tmp_path / "recipes", UNLEARN, "case")
    raw = changed(pipeline.TARGET, model={"make": mamba}, name="state-space")
    pipeline.write(tmp_path / "recipes", raw)
    case = changed(OWN, model={"recipe": "state-space.yaml"})
    with pytest.raises(InputError, match=r"No MLP layers.*mamba.*in_proj.*target_modules"):
        unlearn(tmp_path, case, home)


# --- failures at run time


def test_a_diverging_run_names_step_and_term_and_keeps_the_checkpoint(
    home: Path, tmp_path: Path
) -> None:
    calls = 0

    def poison(event: dict[str, Any]) -> None:
        # After step 4 a weight is spoiled, as an overflow would.
        nonlocal calls
        if event["event"] == "step" and event["step"] == 5:
            calls += 1
            with torch.no_grad():
                next(p for p in trained[0].parameters() if p.requires_grad).fill_(torch.nan)

    trained: list[Any] = []
    adapt = _unlearn.adapt

    def catch(model: Any, adapter: Any, **more: Any) -> Any:
        trained[:] = [adapt(model, adapter, **more)]
        return trained[0]

    loaded = recipe.load(pipeline.write(tmp_path / "recipes", UNLEARN))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_unlearn, "adapt", catch)
        with pytest.raises(
            DivergedError, match=r"at step 6 the term '\w+' does not. Got: nan"
        ) as e:
            run.unlearn(loaded, tmp_path / "out", home=home, watch=poison)
    assert e.value.exit_code == 1
    assert calls == 1
    last = torch.load(tmp_path / "out/checkpoints/last.pt", weights_only=True)
    assert last["step"] == 4
    assert all(value.isfinite().all() for value in last["params"].values())
    assert not (tmp_path / "out/scores.json").exists()


def test_a_model_that_came_out_broken_is_not_saved_as_a_target(tmp_path: Path) -> None:
    raw = changed(pipeline.TARGET, training__steps=1, training__lr=1e30)
    with pytest.raises(DivergedError, match="finite"):
        run.train(recipe.load(pipeline.write(tmp_path / "recipes", raw, "case")), tmp_path / "out")
    assert not (tmp_path / "out/merged").exists()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes: the system's own errors of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("size", "file"),
    [
        (60, "identity.json"),
        (2_000, "reference/target.parquet"),
        (12_000, "checkpoints/last.pt"),
        (60_000, "merged"),
    ],
)
def test_a_full_disk_leaves_nothing_half_written_and_the_run_can_go_on(
    size: int, file: str, sine_run: Path, home: Path, tmp_path: Path
) -> None:
    loaded = recipe.load(pipeline.write(tmp_path / "recipes", UNLEARN))
    out = tmp_path / "out"
    with largest_file(size), pytest.raises(StorageError, match=f"{file} could not be written") as e:
        run.unlearn(loaded, out, home=home)
    assert e.value.exit_code == 1
    assert not (out / file).exists()
    assert not [name for name in listing(out) if "tmp" in name]
    assert steps(run.unlearn(loaded, out, home=home).path) == steps(sine_run)
    RunFolder(out).verify_manifest()
    assert scores(out)["scores"] == scores(sine_run)["scores"]


def test_a_disk_that_fills_at_the_tokenizer_is_a_full_disk(target: Path, tmp_path: Path) -> None:
    loaded = models.load(ModelSource(path=str(target)))

    class Light:
        def save_pretrained(self, folder: Path) -> None:
            folder.mkdir()

    with (
        largest_file(3_000),
        pytest.raises(StorageError, match="File too large"),
        RunFolder(tmp_path).replacing("merged") as fresh,
    ):
        models.save(Light(), loaded.tokenizer, fresh)
    assert listing(tmp_path) == []


@pytest.mark.slow
def test_a_run_broken_off_five_times_ends_as_an_unbroken_one(home: Path, tmp_path: Path) -> None:
    """Kills and interruptions at four seeded steps and while it evaluates; one command for all."""
    raw = changed(UNLEARN, training__steps=300, training__probe_every=100)
    loaded = recipe.load(pipeline.write(tmp_path / "recipes", raw, "case"))
    whole = run.unlearn(loaded, tmp_path / "whole", home=home).path
    broken = tmp_path / "broken"
    command = [
        *(sys.executable, "-m", "letheon", "unlearn", str(tmp_path / "recipes/case.yaml")),
        *("--out", str(broken), "--models", str(home)),
    ]
    chance = random.Random(5)
    # Apart, so that no moment stands in the log before its process has begun to write.
    moments = [f'"step": {70 * k + chance.randint(5, 40)},' for k in range(4)]
    signals = [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGINT, signal.SIGINT]
    for moment, sent in zip([*moments, '"name": "training"'], signals, strict=True):
        code, said = _break_off(command, broken / "progress.jsonl", moment, chance.random(), sent)
        assert code == (-signal.SIGKILL if sent is signal.SIGKILL else 1), said
        assert "Traceback" not in said
        if sent is signal.SIGINT:
            assert said.splitlines()[-1].startswith("error: The command was interrupted. The same")
        assert not (broken / "manifest.json").exists(), "it had not ended"
    assert subprocess.run(command, env=_ours(), check=False, capture_output=True).returncode == 0
    assert [s["step"] for s in steps(broken)] == [s["step"] for s in steps(whole)]
    for mine, other in zip(steps(broken), steps(whole), strict=True):
        assert mine["terms"] == pytest.approx(other["terms"], rel=1e-5)
    assert {s["name"]: s["value"] for s in scores(broken)["scores"]} == pytest.approx(
        {s["name"]: s["value"] for s in scores(whole)["scores"]}, rel=1e-5, nan_ok=True
    )
    assert scores(broken)["gate"]["passed"] == scores(whole)["gate"]["passed"]
    RunFolder(broken).verify_manifest()


def _ours() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(run.__file__).parents[2])}


def _break_off(
    command: list[str], progress: Path, moment: str, chance: float, sent: signal.Signals
) -> tuple[int, str]:
    """Send a signal up to a twentieth of a second after ``moment`` stands in the log."""
    process = subprocess.Popen(
        command,
        env=_ours(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job would hand down that interruptions are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (progress.exists() and moment in progress.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(chance / 20)
    process.send_signal(sent)
    said = process.communicate(timeout=60)[1]
    return process.returncode, said


# --- validate and evaluate


def test_validate_says_what_it_checked_and_writes_nothing(recipes: Path) -> None:
    before = listing(recipes)
    lines = run.validate(recipe.load(recipes / "gd-sine.yaml"))
    assert lines[0].startswith("data: people")
    assert any("made by the recipe gold, seed 2" in line for line in lines)
    assert lines[2].startswith("training: 6 steps of 3 rows and 4 to keep; learning rate 0.001")
    assert any(line.startswith("model: llama") for line in lines)
    assert listing(recipes) == before


def test_an_evaluated_checkpoint_has_the_scores_of_its_run(
    sine_run: Path, recipes: Path, home: Path, tmp_path: Path
) -> None:
    loaded = recipe.load(recipes / "gd-sine.yaml")
    folder = run.evaluate(loaded, str(sine_run / "merged"), tmp_path / "out", home=home)
    mine = {s["name"]: s["value"] for s in scores(folder.path)["scores"]}
    theirs = {s["name"]: s["value"] for s in scores(sine_run)["scores"]}
    assert mine == pytest.approx(theirs, abs=1e-4)


def test_a_model_that_is_only_scored_is_put_where_the_process_computes(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "device", lambda: torch.device("meta"))
    loaded = to_score(ModelSource(path=str(target)))
    assert {p.device.type for p in loaded.model.parameters()} == {"meta"}


def test_a_run_may_follow_one_of_another_precision(tmp_path: Path, home: Path) -> None:
    folder = unlearn(tmp_path, changed(OWN, training__mixed_precision="bf16"), home, out="bf16")
    assert unlearn(tmp_path, OWN, home, out="fp32").path != folder.path


def test_errors_cross_the_command_line_in_one_line(letheon: Letheon, tmp_path: Path) -> None:
    line = letheon.refuses("unlearn", tmp_path / "nope.yaml")
    assert line.startswith("error: A recipe is a YAML file. Got: no file at")
    assert isinstance(FolderError("a", remedy="b"), LetheonError)
