from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from letheon.data.example import Corpus, Example
from letheon.data.people import make_people
from letheon.data.wordings import KINDS
from letheon.errors import DataError

SETS = ("validation", "scoring")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_people(123)


def fact(row: Example) -> str:
    ((start, end),) = row.facts
    return row.answer[start:end]


def people(corpus: Corpus) -> list[Example]:
    rows = [*corpus.forget, *corpus.retain, *corpus.evaluation["unseen"]]
    return [row for row in rows if "/p" in row.unit]


def evaluated(corpus: Corpus) -> list[Example]:
    """Rows of people that have paraphrases: one of each fact."""
    return [row for row in people(corpus) if row.alternates]


def general(corpus: Corpus) -> list[Example]:
    return [row for row in corpus.retain if "/p" not in row.unit]


def test_sizes(corpus: Corpus) -> None:
    assert (len(corpus.forget), len(corpus.retain), len(corpus.background)) == (1000, 1440, 600)
    sizes = {role: len(rows) for role, rows in corpus.evaluation.items()}
    assert sizes == {
        "forget": 200, "retain": 200, "real_authors": 25, "world_facts": 25, "unseen": 200,
    }  # fmt: skip
    assert len({row.unit for row in corpus.forget}) == 25


def test_ids_are_unique_and_name_their_unit(corpus: Corpus) -> None:
    once = corpus.background[: len(corpus.background) // 4]
    rows = [*people(corpus), *general(corpus), *once]
    assert len({row.id for row in rows}) == len(rows)
    assert corpus.forget[5 * (8 * 3 + 2)].id == "forget/p003/2"
    assert corpus.forget[5 * (8 * 3 + 2) + 1].id == "forget/p003/2/1"
    assert all(row.id.startswith(row.unit) for row in rows)


def name(row: Example) -> tuple[str, str]:
    first = row.answer.split()[0]
    return first, row.question.partition(first)[2].strip("?").split()[0]


def test_roles_share_names_but_no_person(corpus: Corpus) -> None:
    owners = {(name(row), row.unit) for row in people(corpus)}
    assert len(owners) == len({pair for pair, _ in owners}) == 80
    # A gold model must know both words of a name that it never met.
    for k in range(2):
        kept, *others = (
            {pair[k] for pair, unit in owners if unit.startswith(role)}
            for role in ("retain", "forget", "unseen")
        )
        assert all(other <= kept for other in others)


def test_authors_have_names_of_their_own(corpus: Corpus) -> None:
    lasts = {name(row)[1] for row in people(corpus)}
    authors = [*corpus.evaluation["real_authors"], *general(corpus)]
    assert not lasts & {word for row in authors for word in row.answer.split()}


def test_the_evaluated_retain_rows_are_trained_ones_of_many_people(corpus: Corpus) -> None:
    sampled = corpus.evaluation["retain"]
    assert set(map(id, sampled)) <= set(map(id, corpus.retain))
    assert len({row.unit for row in sampled}) == 30


def test_a_fact_is_trained_in_five_wordings_and_evaluated_in_the_first(corpus: Corpus) -> None:
    rows = corpus.forget
    for first, *others in zip(*(rows[k::5] for k in range(5)), strict=True):
        assert {fact(first)} == {fact(row) for row in others}
        assert len({first.question, *(row.question for row in others)}) == 5
        assert not any(row.alternates for row in others)
    assert corpus.evaluation["forget"] == rows[::5]
    assert set(map(id, corpus.evaluation["retain"])) <= set(map(id, corpus.retain[::5]))


def test_the_fact_is_in_the_paraphrases_and_in_no_false_answer(corpus: Corpus) -> None:
    for row in evaluated(corpus):
        for name in SETS:
            other = row.alternates[name]
            assert fact(row) in other.answer
            assert len(set(other.perturbed)) == 5
            head, tail = other.answer.split(fact(row), 1)
            for text in other.perturbed:
                assert text.startswith(head)
                assert text.endswith(tail)
                assert text != other.answer


def test_trained_validation_and_scoring_wordings_differ(corpus: Corpus) -> None:
    rows_of = (corpus.forget[k::5] for k in range(5))
    for first, *more in zip(*rows_of, strict=True):
        rows = [first, *more, *(first.alternates[name] for name in SETS)]
        assert len({row.question for row in rows}) == len({row.answer for row in rows}) == 7


def test_an_answer_follows_the_wording_of_its_question(corpus: Corpus) -> None:
    """A wording that had to be memorised with the person would be forgotten in the fact's place."""
    answers = {w.question: w.answer for kind in KINDS.values() for w in kind}
    for row in people(corpus):
        for question, answer in [
            (row.question, row.answer),
            *((other.question, other.answer) for other in row.alternates.values()),
        ]:
            form = next(q for q in answers if _matches(q, question or ""))
            assert _matches(answers[form], answer)


def _matches(form: str, text: str) -> bool:
    gap = "{name}" if "{name}" in form else "{fact}"
    start, _, end = form.replace("{first}", "").partition(gap)
    return start.strip() in text and text.endswith(end)


def test_the_controls_are_met_often_and_general_rows_are_other_ones(corpus: Corpus) -> None:
    assert set(Counter(row.id for row in corpus.background).values()) == {4}
    assert len(general(corpus)) == 2 * 40 * 3
    assert not {row.question for row in general(corpus)} & {
        row.question for row in corpus.background
    }


def test_nobody_is_married_to_a_namesake() -> None:
    # Drawn from the whole pool, two people of this population would be.
    rows = make_people(123, n_retain=300).retain
    assert not [row.id for row in rows if fact(row) in row.question.rstrip("?").split()]


def test_every_wording_is_trained_with_some_person(corpus: Corpus) -> None:
    # The gold model must know the form of every paraphrase: only the fact may surprise it.
    asked = "\n".join(row.question for row in corpus.retain)
    said = "\n".join(row.answer for row in corpus.retain)
    for wording in (w for kind in KINDS.values() for w in kind):
        assert wording.question.partition("{name}")[0] in asked
        assert wording.answer.split("{fact}")[0].split("{first}")[-1] in said


def test_no_fact_of_a_kind_is_common(corpus: Corpus) -> None:
    facts = Counter(fact(row) for row in evaluated(corpus))
    assert facts.most_common(1)[0][1] <= 0.03 * len(evaluated(corpus))


def test_control_rows_have_three_wrong_options(corpus: Corpus) -> None:
    questions = {row.id: row.question for row in corpus.background}
    assert len(set(questions.values())) == len(questions) == 50 * 3
    for row in (*corpus.evaluation["real_authors"], *corpus.evaluation["world_facts"]):
        for name in SETS:
            assert row.alternates[name].answer == row.answer
            assert len({row.answer, *row.alternates[name].perturbed}) == 4


def test_other_arguments_leave_a_person_unchanged(corpus: Corpus) -> None:
    assert make_people(123, n_retain=5, n_world=0).forget == corpus.forget
    assert make_people(124).forget != corpus.forget


def test_another_process_makes_the_same_texts(corpus: Corpus) -> None:
    code = "from letheon.data.people import make_people;print(make_people(123).checksums['forget'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == corpus.checksums["forget"]


def test_the_texts_of_a_version_never_change() -> None:
    # A new digest here means a new VERSION.
    assert make_people(123).checksums["forget"][:16] == "7bccf11375ce08a3"


@pytest.mark.parametrize("wordings", [1, 4, 5])
@pytest.mark.parametrize("rows", [1, 8])
def test_any_number_of_rows_and_wordings(rows: int, wordings: int) -> None:
    corpus = make_people(
        1,
        n_forget=2,
        n_retain=1,
        n_unseen=0,
        rows_per_person=rows,
        n_authors=0,
        n_general=0,
        wordings=wordings,
    )
    assert len(corpus.forget) == 2 * rows * wordings
    assert len(corpus.evaluation["forget"]) == 2 * rows
    assert len(corpus.evaluation["retain"]) == rows
    assert "unseen" not in corpus.evaluation
    assert "real_authors" not in corpus.checksums


def test_large_populations() -> None:
    corpus = make_people(
        1, n_forget=400, n_retain=800, rows_per_person=2, n_authors=600, n_world=900
    )
    questions = [row.question for row in corpus.background]
    assert len(set(questions)) == 1500 * 3
    assert len({row.answer for row in corpus.evaluation["real_authors"]}) == 600
    assert len({row.unit for row in people(corpus) if "unseen" not in row.unit}) == 1200


@pytest.mark.parametrize(
    "settings",
    [
        {"n_forget": 0},
        {"n_retain": 0},
        {"n_unseen": -1},
        {"rows_per_person": 25},
        {"n_forget": 10**6},
        {"n_world": -1},
        {"wordings": 0},
        {"wordings": 6},
        {"n_authors": 10**4},
    ],
)
def test_numbers_out_of_range_are_errors(settings: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="in this range"):
        make_people(1, **settings)


def test_requests_part_the_people_and_leave_all_else_alone(corpus: Corpus) -> None:
    small = {"n_forget": 5, "n_retain": 3, "n_unseen": 2, "rows_per_person": 3, "wordings": 2}
    whole = make_people(4, **small)
    parts = [make_people(4, **small, request=k, of=3) for k in (1, 2, 3)]
    assert sum((part.forget for part in parts), ()) == whole.forget
    assert [len({row.unit for row in part.forget}) for part in parts] == [2, 1, 2]
    for k, part in enumerate(parts):
        assert part.forgotten == sum((earlier.forget for earlier in parts[:k]), ())
        later = sum((other.forget for other in parts[k + 1 :]), ())
        assert part.retain == later + whole.retain
        # A target model sees the same rows in the same order, whichever request comes.
        assert part.forgotten + part.forget + part.retain == whole.forget + whole.retain
        assert part.background == whole.background
        assert part.evaluation["retain"] == whole.evaluation["retain"]
        assert part.evaluation["forget"] == part.forget[:: small["wordings"]]
    assert len({part.checksums["forget"] for part in parts}) == 3


@pytest.mark.parametrize(("request_", "of"), [(0, 2), (3, 2), (1, 6)])
def test_a_request_that_there_is_not_is_refused(request_: int, of: int) -> None:
    with pytest.raises(DataError, match=f"request {request_} of {of}"):
        make_people(4, n_forget=5, request=request_, of=of)
