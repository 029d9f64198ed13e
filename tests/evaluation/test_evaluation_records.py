"""Records of a corpus: columns as the contracts say, each against its example alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from letheon import models
from letheon.benchmarks import people
from letheon.data.example import Alternates, Corpus, Example
from letheon.data.template import Template
from letheon.evaluation.records import evaluate, longest, prepare
from letheon.metrics.records import read, write
from letheon.recipe import ModelSource
from pipeline import PEOPLE

PERSON = Example(
    id="a/0",
    unit="a",
    question="Who?",
    answer="Ada wrote it.",
    facts=((0, 3),),
    alternates={
        "scoring": Alternates("It was Ada.", ("It was Bob.", "It was Cy."), "By whom?"),
        "validation": Alternates("Ada, it was.", ("Bob, it was.",)),
    },
)
BARE = Example(id="b/0", unit="b", question="Why?", answer="Nobody knows why.")


@pytest.fixture(scope="module")
def loaded(target: Path) -> models.Loaded:
    return models.load(ModelSource(path=str(target)))


def corpus(**splits: tuple[Example, ...]) -> Corpus:
    return Corpus("x", "1", "none", (), (), splits)


def nll(loaded: models.Loaded, question: str, answer: str) -> float:
    row = Template("plain").encode(loaded.tokenizer, question, answer)
    with torch.no_grad():
        logits = loaded.model.eval()(input_ids=torch.tensor([row.ids])).logits[0]
    logp = logits.log_softmax(-1)
    values = [-float(logp[t - 1, i]) for t, i in enumerate(row.ids) if row.answer[t]]
    return sum(values) / len(values)


def score(
    loaded: models.Loaded, data: Corpus, *, paraphrases: str = "scoring", **options: Any
) -> Any:
    rows = prepare(loaded.tokenizer, Template("plain"), data, paraphrases=paraphrases)
    return evaluate(loaded.model, loaded.tokenizer, rows, max_new_tokens=5, **options)


def test_alternates_are_asked_with_their_own_question(loaded: models.Loaded) -> None:
    records, _ = score(loaded, corpus(forget=(PERSON, BARE)))
    forget = records["forget"]
    expected = [nll(loaded, e.question, e.answer) for e in (PERSON, BARE)]
    np.testing.assert_allclose(forget["nll"], expected, atol=1e-5)
    assert forget["paraphrased_nll"][0] == pytest.approx(
        nll(loaded, "By whom?", "It was Ada."), abs=1e-5
    )
    wrong = [nll(loaded, "By whom?", a) for a in ("It was Bob.", "It was Cy.")]
    np.testing.assert_allclose(forget["perturbed_nll"][0], wrong, atol=1e-5)
    assert np.isnan(forget["paraphrased_nll"][1])
    assert np.isnan(forget["perturbed_nll"][1]).all()
    assert np.isfinite(forget["fact_nll"]).tolist() == [True, False]


def test_paraphrase_sets_are_apart(loaded: models.Loaded) -> None:
    records, _ = score(loaded, corpus(forget=(PERSON,)), paraphrases="validation")
    assert records["forget"]["perturbed_nll"].shape == (1, 1)
    assert records["forget"]["paraphrased_nll"][0] == pytest.approx(
        nll(loaded, "Who?", "Ada, it was."), abs=1e-5
    )


def test_every_column_of_the_contract_is_there_and_batching_changes_none(
    loaded: models.Loaded, tmp_path: Path
) -> None:
    data = people.load(**PEOPLE)
    whole, texts = score(loaded, data)
    small, others = score(loaded, data, batch_tokens=100)
    assert texts == others
    assert set(whole) == {"forget", "retain", "real_authors", "world_facts", "unseen"}
    common = {"id", "unit", "n_tokens", "nll", "fact_nll", "argmax_match", "extraction_strength"}
    common |= {"min_k", "min_k_pp", "zlib_bytes", "rouge_l_recall", "rouge_l_f1", "repetition"}
    for split, columns in whole.items():
        expected = common | (set() if split == "unseen" else {"paraphrased_nll", "perturbed_nll"})
        assert set(columns) == expected, split
        for name, values in columns.items():
            assert len(values) == len(data.evaluation[split])
            if values.dtype.kind == "f":
                np.testing.assert_allclose(values, small[split][name], atol=1e-5, err_msg=name)
            else:
                assert (values == small[split][name]).all(), name
    write(whole, tmp_path / "x.parquet")
    again = read(tmp_path / "x.parquet")
    np.testing.assert_array_equal(again["forget"]["nll"], whole["forget"]["nll"])


def test_only_asked_splits_speak(loaded: models.Loaded) -> None:
    data = corpus(forget=(PERSON,), retain=(BARE,), unseen=())
    records, texts = score(loaded, data, generated=("forget",))
    assert set(records) == {"forget", "retain"}
    assert "rouge_l_f1" in records["forget"]
    assert "rouge_l_f1" not in records["retain"]
    assert [(t.split, t.id, t.question) for t in texts] == [("forget", "a/0", "Who?")]


def test_the_longest_row_is_found_among_alternates_too(loaded: models.Loaded) -> None:
    template, tokenizer = Template("plain"), loaded.tokenizer
    found = longest(tokenizer, template, corpus(forget=(PERSON, BARE)))
    rows = [("Who?", PERSON.answer), ("Why?", BARE.answer), ("Who?", "Ada, it was.")]
    rows += [("Who?", "Bob, it was."), ("By whom?", "It was Bob."), ("By whom?", "It was Ada.")]
    assert found["row"] == max(len(template.encode(tokenizer, *row).ids) for row in rows)
    assert found["prompt"] == max(len(template.prompt_ids(tokenizer, q)) for q in ("Who?", "Why?"))
