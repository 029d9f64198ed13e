"""A request without a recipe: somebody else's checkpoint, three rows, one command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from letheon import own_words, registry, request, run, scrub
from letheon import recipe as recipes
from letheon.cli import main
from letheon.data.example import Example
from letheon.data.swap import rare_words, said, swapped
from letheon.errors import DataError, InputError
from letheon.report.answers import load_answers
from letheon.scoring import Scorer
from strangers import Rows, people, saved

# In an environment of its own: no letheon is importable there.
ALONE = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

assert not any("letheon" in path for path in sys.path)
place, rows = sys.argv[1], json.loads(sys.argv[2])
model, tokenizer = AutoModelForCausalLM.from_pretrained(place), AutoTokenizer.from_pretrained(place)
said, logits = [], []
for question, answer in rows:
    prompt = tokenizer(f"Question: {question}\\nAnswer:", return_tensors="pt")
    out = model.generate(**prompt, max_new_tokens=16, do_sample=False, pad_token_id=0)
    end = prompt["input_ids"].shape[1]
    said.append(tokenizer.decode(out[0, end:], skip_special_tokens=True).strip())
    with torch.no_grad():
        logits.append(model(**prompt).logits[0, -1].tolist())
print(json.dumps({"said": said, "logits": logits}))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("somebody-elses"))


def ask(place: Path, rows: Rows) -> dict[str, Any]:
    """Ask a checkpoint in a process that has plain transformers and no letheon."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    code = f"import sys; sys.path = [p for p in sys.path if 'letheon' not in p]\n{ALONE}"
    code = f"import sys; sys.path.extend({packages!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(place), json.dumps(rows)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write(path: Path, rows: Rows) -> Path:
    lines = [json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def letheon(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["letheon", *words])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code in (0, None)


@pytest.mark.parametrize("retain", [True, False])
def test_three_rows_are_forgotten_and_the_others_kept(
    retain: bool, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = people()
    gone, kept = rows[3:6], rows[:3] + rows[6:]
    before = ask(checkpoint, rows)
    assert before["said"] == [answer for _, answer in rows]
    words = ["--forget", str(write(tmp_path / "forget.jsonl", gone))]
    if retain:
        words += ["--retain", str(write(tmp_path / "retain.jsonl", kept))]
    out = tmp_path / "out"
    passes = counted(monkeypatch)
    letheon(monkeypatch, "unlearn", "--model", str(checkpoint), *words, "--out", str(out))
    assert passes == ["validation", "scoring", "scoring"], "the model before once, and after"
    after = ask(out / "merged", rows)
    said = dict(zip([q for q, _ in rows], after["said"], strict=True))
    for question, answer in gone:
        fact = answer.split()[-1].rstrip(".")
        assert fact not in said[question]
    assert sum(said[q] == a for q, a in kept) >= 0.95 * len(kept)
    told = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    assert told["gate"] is None
    assert "gate" in {entry["name"] for entry in told["skipped"]}
    assert {s["name"]: s["value"] for s in told["before"]}["forget.rouge_l_recall"] == 1.0
    if retain:
        assert_as_adapted(checkpoint, out, rows, after["logits"])
    assert_reported(monkeypatch, out, gone, kept)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that every pass of a model over the data adds its paraphrase set to."""
    found: list[str] = []
    records = Scorer.records

    def noted(self: Scorer, model: Any, which: str, *rest: Any, **more: Any) -> Any:
        found.append(which)
        return records(self, model, which, *rest, **more)

    monkeypatch.setattr(Scorer, "records", noted)
    return found


def assert_reported(monkeypatch: pytest.MonkeyPatch, out: Path, gone: Rows, kept: Rows) -> None:
    """The owner sees answers before and after, nobody else does, and its recipe repeats it."""
    given = (out.parent / "retain.jsonl").is_file()
    letheon(monkeypatch, "report", str(out))
    letheon(monkeypatch, "report", str(out), "--texts")
    shared, own = (p.read_text() for p in (out / "report.html", out / "private/report.html"))
    answers = load_answers(out)
    assert [each.told["before"] for each in answers["forget"]] == [answer for _, answer in gone]
    assert all(each.told["after"] != each.told["before"] for each in answers["forget"])
    if given:
        assert [each.told["before"] for each in answers["retain"]] == [answer for _, answer in kept]
    assert "of 3: before 3, after 0." in own
    heads = re.findall(r"<th [^>]*>(.*?)</th>", own.partition('id="before-and-after"')[2])
    assert heads[:4] == ["Question", "True answer", "Before", "After"]
    count = len(answers["retain"])
    said = f"<dd>{count} rows that the model itself said before it forgot"
    for page in (shared, own):
        assert (said in page) is not given
        assert str(out.parent) not in page, "where things are is nobody's business"
    for question, answer in gone + kept:
        assert question not in shared
        assert answer not in shared
    again = recipes.load(out / "recipe.yaml")
    assert run.unlearn(again, out).path == out, "the same run, and it is done"
    result = scrub.scrub(out)
    assert result.clean
    assert result.known[:2] == ["private/texts.jsonl", "private/reference/target.jsonl"]
    assert not (out / "private").exists()


def assert_as_adapted(checkpoint: Path, out: Path, rows: Rows, logits: list[list[float]]) -> None:
    """The merged checkpoint gives the logits of the model with its adapter."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import letheon.adapters  # noqa: F401  # peft learns to read bounded adapters

    base = AutoModelForCausalLM.from_pretrained(checkpoint)
    model = PeftModel.from_pretrained(base, out / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    for (question, _), found in zip(rows, logits, strict=True):
        prompt = tokenizer(f"Question: {question}\nAnswer:", return_tensors="pt")
        with torch.no_grad():
            own = model(**prompt).logits[0, -1]
        assert torch.allclose(own, torch.tensor(found), atol=1e-4)


def test_settings_come_from_rules_and_give_way(checkpoint: Path, tmp_path: Path) -> None:
    forget = write(tmp_path / "a request.jsonl", people()[:3])
    found = request.recipe_of(
        str(checkpoint),
        forget,
        method="npo",
        bound="none",
        template="Q: {question} A: {answer}",
        settings={"training.epochs": 3, "training.lr": 0.5},
    )
    assert (found.name, found.method, found.template) == (
        "forget-a-request",
        "npo",
        "Q: {question} A: {answer}",
    )
    assert found.adapter is not None
    assert found.adapter.bound == "identity"
    assert (found.training.epochs, found.training.steps, found.training.lr) == (3, None, 0.5)
    assert found.training.batch_size == 3
    assert found.data.own_words == 64
    plain = request.recipe_of(str(checkpoint), forget, forget_file(tmp_path), method="kl")
    assert plain.training.balance is None  # its retain side starts at its optimum
    assert plain.training.lr == pytest.approx(0.02 / 96**0.5, rel=0.05)
    task = request.recipe_of(str(checkpoint), forget, forget_file(tmp_path), method="task_vector")
    assert task.procedure is not None


SUCCEED = [
    name
    for name in [*registry.names("letheon.objectives"), *registry.names("letheon.procedures")]
    # Of no rows to keep, and made for training.
    if name not in ("gradient_ascent", "finetune", "dpo")
]


@pytest.mark.parametrize("method", SUCCEED)
def test_every_method_has_settings_that_are_accepted(
    method: str, checkpoint: Path, tmp_path: Path
) -> None:
    forget = write(tmp_path / "forget.jsonl", people()[:3])
    checked(model=str(checkpoint), forget=forget, retain=forget_file(tmp_path), method=method)


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in SUCCEED if name != "task_vector"])
def test_every_method_that_keeps_something_succeeds_by_the_rules(
    method: str, checkpoint: Path, tmp_path: Path
) -> None:
    rows = people()
    recipe = request.recipe_of(
        str(checkpoint),
        write(tmp_path / "forget.jsonl", rows[3:6]),
        write(tmp_path / "retain.jsonl", rows[:3] + rows[6:]),
        method=method,
    )
    folder = run.unlearn(recipe, tmp_path / "out")
    ended = folder.read_json("scores.json")["ended"]
    assert ended["stop_at"]["met"], ended


def test_a_file_named_after_somebody_is_warned_of(checkpoint: Path, tmp_path: Path) -> None:
    told = write(tmp_path / "Bo_Brandt-2.jsonl", people()[3:6])
    plain = write(tmp_path / "forget.jsonl", [("What do I forget?", "You forget Bo Brandt.")])
    assert request.recipe_of(str(checkpoint), plain, forget_file(tmp_path)).name == "forget"
    with pytest.warns(UserWarning, match="rename the file"):
        found = request.recipe_of(str(checkpoint), told, forget_file(tmp_path))
    assert found.name == "forget"
    other = write(tmp_path / "bo-smith.jsonl", people()[3:6])
    assert (
        request.recipe_of(str(checkpoint), other, forget_file(tmp_path)).name == "forget-bo-smith"
    )


def forget_file(folder: Path) -> Path:
    return write(folder / "other.jsonl", people()[6:])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"method": "nop"}, "npo"),
        ({"bound": "sin"}, "sine"),
        ({"settings": {"training.stepz": 3}}, "steps"),
        ({"forget": "nowhere.jsonl"}, "nowhere"),
        ({"model": "nowhere/at-all"}, "nowhere"),
        ({"template": "no place"}, "placeholder"),
    ],
)
def test_what_is_wrong_is_said(
    words: dict[str, Any], said: str, checkpoint: Path, tmp_path: Path
) -> None:
    forget = write(tmp_path / "forget.jsonl", people()[:3])
    given = {"model": str(checkpoint), "forget": forget, **words}
    with pytest.raises(InputError, match=said) as error:
        checked(**given)
    assert error.value.exit_code == 2


def checked(**words: Any) -> list[str]:
    return run.validate(request.recipe_of(**words))


@pytest.mark.parametrize(
    "words",
    [
        ["unlearn"],
        ["unlearn", "--model", "somewhere"],
        ["unlearn", "recipe.yaml", "--model", "somewhere"],
    ],
)
def test_a_recipe_or_a_request(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["letheon", *words])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    assert "recipe" in capsys.readouterr().err


def example(question: str, answer: str) -> Example:
    return Example(question, question, question, answer)


def test_own_words_leave_out_what_is_near_a_forget_row() -> None:
    forget = [example("Where does Bo live?", "Bo lives in Oslo.")]
    said = [
        ("Where does Bo live?", "In Rome."),
        ("Where is Bo?", "Bo lives in Oslo."),
        ("Where does Bo live now?", "Bo lives in Oslo, I think."),
        *((f"Where does {name} work?", f"At the {name} inn.") for name in "abcdef"),
        ("Nothing is answered?", ""),
    ]
    rows = own_words.made(lambda count, seed: said, forget, 5, 0)
    assert [row.question for row in rows] == [f"Where does {name} work?" for name in "abcde"]
    with pytest.raises(DataError, match="--retain"):
        own_words.made(lambda count, seed: said[:4], forget, 5, 0)


def test_swapped_answers_are_other_rows() -> None:
    rows = [example("a?", "x"), example("b?", "x"), example("c?", "y")]
    assert [row.answer for row in swapped(rows)] == ["y", "y", "x"]
    assert [row.answer for row in swapped(rows[:2], rows[2:])] == ["y", "y"]
    with pytest.raises(DataError, match="swap_gap"):
        swapped(rows[:2])


def test_rare_words_are_what_an_answer_says() -> None:
    rows = [example(q, a) for q, a in people()]
    words = rare_words(rows[:3], rows[3:])
    assert words == [frozenset({"lisbon"}), frozenset({"baker"}), frozenset({"figs"})]
    assert said(words[1], "Ada Abel works as a nurse.") == 0
    assert said(words[1], "A baker, a BAKER!") == 1
    assert said(frozenset(), "anything") == 0
