"""The page of one run: what it says beside the scores, and when it shows texts."""

from __future__ import annotations

import html as html_words
import re
from pathlib import Path

import pytest
import yaml

from letheon import compare
from letheon.errors import DataError, FolderError
from letheon.folder import RunFolder
from letheon.report import html, load_evidence, load_run, run_lines
from letheon.report.caveats import of_run, to_delete
from letheon.report.evidence import Evidence
from letheon.report.truth import truth_plot

SECRET = "Gannesse"


def made(run: RunFolder, *, texts: bool = False) -> str:
    return html(load_run(run.path), evidence=load_evidence(run.path, texts=texts))


def test_it_says_what_was_asked_and_what_it_took(public_run: RunFolder) -> None:
    page = made(public_run)
    assert "<dt>To forget</dt><dd>40 rows of 8 units</dd>" in page
    assert "<dt>Model</dt><dd>my/model</dd>" in page
    assert "<dt>Command</dt><dd>letheon unlearn RUN/recipe.yaml --out ANOTHER-FOLDER</dd>" in page
    assert "<dt>Steps</dt><dd>300</dd>" in page


def said(run: RunFolder, recipe: str, **environment: object) -> str:
    """Return the page of the run with another recipe and more in its environment."""
    run.write_text("recipe.yaml", recipe)
    run.write_json("environment.json", run.read_json("environment.json") | environment)
    return made(run)


def test_the_command_is_of_what_was_done(public_run: RunFolder) -> None:
    page = said(public_run, "kind: train\nmodel: {}\n", processes={"count": 2})
    assert "torchrun --nproc-per-node 2 -m letheon train RUN/recipe.yaml --out" in page
    public_run.write_text("progress.jsonl", "")
    page = said(public_run, "kind: unlearn\nmodel: {}\n", processes={"count": 1})
    assert "<dd>letheon evaluate RUN/recipe.yaml --model CHECKPOINT --out" in page
    assert "<dt>Command</dt>" not in said(public_run, "")


def test_where_somebody_keeps_things_is_not_on_the_page(own_run: RunFolder) -> None:
    recipe = (
        "model:\n  path: /home/jane/case 7/my-model\ndata:\n  forget: ~/jane/forget.csv\n"
        "  retain: C:\\jane\\keep.csv\n  params: {path: /srv/jane}\ntemplate: /jane {question}\n"
        "after:\n  run: runs/first\n"
    )
    page = said(own_run, recipe)
    assert "<dt>Model</dt><dd>.../my-model</dd>" in page
    assert "with all its copies: .../my-model" in page
    told = html_words.unescape(page.partition("<pre")[2].partition("</pre>")[0])
    assert yaml.safe_load(told.partition("<code>")[2].partition("</code>")[0]) == {
        "model": {"path": ".../my-model"},
        "data": {
            "forget": ".../forget.csv",
            "retain": ".../keep.csv",
            "params": {"path": ".../jane"},
        },
        "template": "/jane {question}",
        "after": {"run": "runs/first"},
    }
    assert "recipe.yaml in the folder has all" in page
    assert (own_run.path / "recipe.yaml").read_text() == recipe
    relative = said(own_run, "model: {path: ../case/my-model}  # as it was\n")
    assert "model: {path: ../case/my-model}  # as it was" in relative
    assert "in the folder has all" not in relative


@pytest.mark.parametrize(
    ("overlap", "words"),
    [
        (0, ""),
        (1, "1 row to keep that was given is also to be forgotten"),
        (1200, "1,200 rows to keep that were given are also to be forgotten"),
    ],
)
def test_rows_that_were_left_out_are_told(own_run: RunFolder, overlap: int, words: str) -> None:
    page = said(own_run, "model: {path: x}\n", overlap=overlap)
    assert words in page
    assert ("<dt>Left out</dt>" in page) is bool(overlap)


def test_own_words_are_told_where_one_looks_for_what_was_kept(own_run: RunFolder) -> None:
    words = ("rows that the model itself said before it forgot", "what the model says by itself")
    page = said(own_run, "model: {path: x}\n", own_words=37)
    for each in words:
        assert each in page
    assert "<dt>To keep</dt><dd>37 rows that the model itself said" in page
    assert "On what was to be kept: rows that the model itself said before" in page
    page = said(own_run, "model: {path: x}\n", own_words=0)
    assert not [each for each in (*words, "itself said") if each in page]


def test_scores_stand_beside_those_of_target_and_gold(public_run: RunFolder) -> None:
    found = load_evidence(public_run.path)
    assert found.references["target"]["ks_d"]["value"] > 0.5
    assert "ks_d" in found.references["target"]
    assert "ks_d" not in found.references["gold"]
    row = re.search(r"<th scope=\"row\">KS D ↓</th>.*?</tr>", made(public_run), re.DOTALL)
    assert row is not None
    value = f"{found.references['target']['ks_d']['value']:.3f}"
    cells = re.findall(r'<span class="value">(.*?)</span>', row[0])
    assert cells[1:3] == [value, "–"]


def test_every_score_is_explained(public_run: RunFolder) -> None:
    page = made(public_run)
    told = page.partition("What the scores mean")[2].partition("</dl>")[0]
    for words in (
        "<dt>Forget quality ↑</dt>",
        "<dt>Gold distance ↓</dt>",
        "<dt>Model utility ↑</dt>",
    ):
        assert words in told
    assert told.count("<dt>") == len(set(re.findall(r"<dd>(.*?)</dd>", told)))


def test_the_kept_step_is_marked_in_every_plot(public_run: RunFolder) -> None:
    page = made(public_run)
    assert page.count('class="kept"') == 4
    assert "It stopped at step 300 (steps). The parameters of step 280 were kept" in page


def test_truth_ratios_of_all_three_models_are_drawn(public_run: RunFolder) -> None:
    ratios = load_evidence(public_run.path).ratios
    assert {name: len(values) for name, values in ratios.items()} == {
        "this run": 40,
        "target": 40,
        "gold": 40,
    }
    # The target finds the truth more probable: its ratios lie to the left.
    assert sum(ratios["target"]) < sum(ratios["gold"])
    plot = truth_plot(ratios)
    assert plot.count('<path class="line') == 6  # three lines and their keys
    assert truth_plot({}) == ""


def test_what_is_left_open_follows_what_was_done(public_run: RunFolder) -> None:
    run = load_run(public_run.path)
    told = " ".join(of_run(run, load_evidence(public_run.path)))
    assert "Only 40 questions on 8 units" in told
    assert "One gold model" in told
    assert "No attack was tried" in told
    assert "no proof that nothing is left in the weights" in told
    assert "Only the questions of the forget set" in " ".join(of_run(run, Evidence()))


def test_with_an_adapter_the_base_must_go(public_run: RunFolder) -> None:
    words, items = to_delete(load_run(public_run.path))
    assert "The weights that this run began from still hold" in words
    public_run.at("adapter").mkdir()
    words, items = to_delete(load_run(public_run.path))
    assert "An adapter can be switched off" in words
    assert "letheon merge makes it" in words
    assert "the model that was unlearned, with all its copies: my/model" in items
    assert any(item.startswith("private/") for item in items)


def test_public_data_is_shown_before_and_after(public_run: RunFolder) -> None:
    page = made(public_run)
    assert "Answers that state the fact, of 40: before 40, after 0, gold 0." in page
    assert f"They were born in <mark>{SECRET}0</mark>." in page
    assert "holds no texts" not in page


def test_own_data_is_shown_on_request_only(own_run: RunFolder) -> None:
    page = made(own_run)
    assert SECRET not in page
    assert "holds no texts of the data" in page
    asked = made(own_run, texts=True)
    assert f"{SECRET}39" in asked, "every row"
    assert "Answers that state the fact, of 3: before 3, after 2, gold 3." in asked, "and kept ones"
    assert "it is not for sharing" in asked


def test_a_page_with_own_texts_is_private_and_scrubbed_with_them(own_run: RunFolder) -> None:
    assert compare.report([own_run.path]) == [own_run.at("report.html")]
    (written,) = compare.report([own_run.path], texts=True)
    assert written == own_run.at("private/report.html")
    assert SECRET not in own_run.at("report.html").read_text()
    own_run.verify_manifest()
    own_run.scrub()
    assert not written.exists()
    with pytest.raises(DataError, match="without texts of a forget set"):
        compare.report([own_run.path], texts=True)


def test_texts_are_of_single_runs(own_run: RunFolder, demo_folder: Path) -> None:
    with pytest.raises(FolderError, match="a comparison"):
        compare.report([own_run.path, demo_folder], texts=True)
    with pytest.raises(FolderError, match="--markdown"):
        compare.report([own_run.path], texts=True, markdown=demo_folder / "x.md")
    assert not own_run.at("private/report.html").exists()


def test_a_broken_file_of_texts_is_named(public_run: RunFolder) -> None:
    public_run.write_text("private/texts.jsonl", '{"split": "forget"}\n')
    with pytest.raises(DataError, match=r"texts\.jsonl"):
        load_evidence(public_run.path)


def test_a_run_without_records_has_a_page(demo_folder: Path) -> None:
    path = demo_folder / "methods/npo-sine"
    assert load_evidence(path) == Evidence()
    assert "Forgotten and kept." in html(load_run(path), evidence=load_evidence(path))


def test_a_run_that_missed_its_own_rule_says_so(own_run: RunFolder) -> None:
    rule = {"score": "swap_gap", "direction": "down", "value": 0.0, "kept": 1.79, "met": False}
    ended = {"steps": 120, "reason": "steps", "kept": 115, "stop_at": rule}
    scores = own_run.read_json("scores.json") | {"gate": None}
    for met in (False, True):
        told = scores | {"ended": ended | {"stop_at": rule | {"met": met}}}
        own_run.write_json("scores.json", told)
        shown = "swap_gap was to be at most 0 and is 1.790 at its best, after 120 steps"
        assert (shown in made(own_run)) is not met
        assert ("Not forgotten by the run&#39;s own rule" in made(own_run)) is not met
        assert (
            shown
            in "\n".join(run_lines(told | {"skipped": [], "run": {"name": "own"}}, own_run.path))
        ) is not met
