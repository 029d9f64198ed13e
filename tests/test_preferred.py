"""A run whose objective prefers other answers: what it keeps, and how it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pipeline
from letheon import preferred, recipe, run
from letheon.data.example import Corpus
from letheon.errors import FolderError, InputError
from letheon.folder import RunFolder
from letheon.objectives.other_answers import REFUSALS
from letheon.parts import corpus_of
from pipeline import UNLEARN, changed

# No gold models and few steps: these tests are about rows.
RAW = changed(
    UNLEARN,
    gold={},
    objective={"name": "alt_po"},
    training={"steps": 4, "batch_size": 3, "checkpoint_every": 2},
    evaluation={"max_new_tokens": 8, "metrics": ["probability"]},
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return corpus_of(recipe.resolve(RAW, where="here").data)


def unlearn(folder: Path, home: Path, raw: dict[str, Any] = RAW, **more: Any) -> RunFolder:
    loaded = recipe.load(pipeline.write(folder / "recipes", raw, "case"))
    return run.unlearn(loaded, folder / "out", home=home, **more)


def lines(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / preferred.FILE).read_text().splitlines()]


def said(events: list[dict[str, Any]]) -> list[str]:
    return [event["text"] for event in events if event["event"] == "note"]


def test_a_run_keeps_its_preferred_answers_and_goes_on_with_them(
    home: Path, tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unlearn(tmp_path, home, watch=interrupt)
    found = lines(tmp_path / "out")
    truth = {e.id: e for e in corpus.forget}
    assert [row["id"] for row in found] == list(truth)
    assert [row["question"] for row in found] == [e.question for e in truth.values()]
    assert all(row["answer"].strip() != truth[row["id"]].answer for row in found)
    own = [row for row in found if row["answer"] not in REFUSALS]
    assert own  # a model of a few steps says anything
    words = f"preferred answers: {len(found)}, of them {len(found) - len(own)} refusals"
    assert said(RunFolder(tmp_path / "out").progress()) == [words]

    def silent(*_: object) -> None:
        raise AssertionError("the model spoke again")

    monkeypatch.setattr("letheon.scoring.generate", silent)
    events: list[dict[str, Any]] = []
    folder = unlearn(tmp_path, home, watch=events.append)
    assert said(events) == [words]
    assert next(e["step"] for e in events if e["event"] == "resume") == 2
    assert lines(folder.path) == found
    folder.verify_manifest()
    answer = max((row["answer"] for row in found), key=len).encode()
    for file in folder.path.rglob("*"):
        if file.is_file() and file.parent.name != "private":
            assert answer not in file.read_bytes(), file


@pytest.mark.parametrize("spoil", ["nothing", "cut", "other rows", "not text"])
def test_what_was_kept_is_read_or_refused(spoil: str, tmp_path: Path, corpus: Corpus) -> None:
    folder = RunFolder(tmp_path)
    assert preferred.kept(folder, corpus.forget) is None
    objective = registry_make("idk")
    made = preferred.made(objective, corpus.forget, preferred.unsaid, 3)
    preferred.write(folder, made)
    file = tmp_path / preferred.FILE
    if spoil == "nothing":
        # By id: in whatever order the examples are asked for.
        assert preferred.kept(folder, corpus.forget[::-1]) == list(made)[::-1]
        return
    text = file.read_text()
    file.write_text(
        {"cut": text[:-9], "other rows": text.replace('"id": "', '"id": "x')}.get(spoil, "[]\n")
    )
    with pytest.raises(FolderError, match=r"preferred\.jsonl holds"):
        preferred.kept(folder, corpus.forget)


def registry_make(name: str) -> Any:
    from letheon import registry

    return registry.make("letheon.objectives", name, {})


def test_an_objective_that_prefers_nothing_has_nothing_made(corpus: Corpus) -> None:
    assert preferred.made(registry_make("npo"), corpus.forget, preferred.unsaid, 0) == ()


@pytest.mark.parametrize("tokens", ["answer", "facts"])
def test_facts_are_of_the_forget_side_alone(home: Path, tokens: str, tmp_path: Path) -> None:
    raw = changed(RAW, objective={"name": "idk_dpo"}, training__forget_tokens=tokens)
    loaded = recipe.load(pipeline.write(tmp_path, raw, "case"))
    target = next(home.glob("target-*")) / "merged"
    model = run.models.load(recipe.ModelSource(path=str(target)))
    scorer = run.scorer_of(loaded, model, corpus_of(loaded.data))
    rows = run.rows_of(loaded, scorer, registry_make("idk_dpo"))
    parts = [sum(map(sum, (row.answer for row in side))) for side in (rows.forget, rows.preferred)]
    assert len(rows.preferred) == len(rows.forget)
    assert parts[1] > len(rows.preferred)
    assert (parts[0] == sum(sum(row.facts) for row in rows.forget)) == (tokens == "facts")


def test_a_refusal_that_outgrows_the_context_is_refused(home: Path, tmp_path: Path) -> None:
    place = next(home.glob("target-*")) / "merged"
    loaded = recipe.load(pipeline.write(tmp_path, changed(RAW, objective={"name": "idk"}), "case"))
    found = run.models.load(recipe.ModelSource(path=str(place)))
    scorer = run.scorer_of(loaded, found, corpus_of(loaded.data))
    rows = run.rows_of(loaded, scorer, registry_make("idk")).preferred
    scorer.check_rows(found.model, rows)
    found.model.config.max_position_embeddings = max(len(row.ids) for row in rows) - 1
    with pytest.raises(InputError, match="with its preferred answer fits the model's"):
        scorer.check_rows(found.model, rows)


def test_a_layer_the_model_has_not_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    raw = changed(RAW, objective={"name": "rmu", "params": {"layer": 2}})
    with pytest.raises(InputError, match="Got: 2, and the model has 1 layers"):
        unlearn(tmp_path, tmp_path / "home", raw)
    assert not (tmp_path / "home").exists()
    assert not (tmp_path / "out").exists()
