"""Fictitious people: seeded questions and answers about people who do not exist, of any number."""

from __future__ import annotations

__all__ = ["LICENCE", "VERSION", "make_people"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import isqrt
from random import Random

from letheon.data import vocabulary as words
from letheon.data.example import Alternates, Corpus, Example, digest
from letheon.data.wordings import AUTHOR_QUESTIONS, KINDS, WORLD_QUESTIONS
from letheon.errors import DataError

VERSION = "4"
LICENCE = "Apache-2.0"

_SETS = ("validation", "scoring")
_FALSE = 5
_OPTIONS = 3
_POOL = 60

# How often an epoch meets a control row, for once that it meets another.
_REPEATS = 4

# The most wordings of a fact that are trained: one is kept for each of the two paraphrase sets.
_WORDINGS = 5

# First names and last names of a population, at least: few, so that people share them.
_NAMES = 25


def make_people(
    seed: int,
    *,
    n_forget: int = 25,
    n_retain: int = 30,
    n_unseen: int = 25,
    rows_per_person: int = 8,
    n_authors: int = 25,
    n_world: int = 25,
    n_general: int = 40,
    wordings: int = 5,
    request: int = 1,
    of: int = 1,
) -> Corpus:
    """Make a population and its control sets.

    Each person has an own pair of first and last name, neither of which is theirs alone: a gold
    model, which never met the person, knows both words and is not thrown off by them. Each has
    ``rows_per_person`` facts of different kinds. A fact is trained in ``wordings`` (1 to 5) of the
    seven of its kind, a row each, as a real person's facts stand in several places; the first of
    these rows is evaluated. Its paraphrase sets ``"validation"`` and ``"scoring"`` ask and answer
    in two wordings that this fact was not trained in, each with five false answers of the same
    form and type.

    ``n_authors`` facts in the role of TOFU's real authors and ``n_world`` in that of its world
    facts, asked in up to three ways, have three wrong options each. They are the background:
    target and gold models meet them several times an epoch, as knowledge of long standing, and
    unlearning never rehearses them. ``n_general`` more facts of either sort belong to the retain
    side, as the sample of general knowledge that a retain set holds. The same arguments give the
    same texts in every process.

    The people to forget may be parted into ``of`` requests, which come one after another:
    ``request`` (from 1) says which is to be forgotten now. Those of later requests still belong to
    the retain side, those of earlier ones to neither; all else is the same for every request, so
    that target models are trained on the same rows in the same order, and gold models on all but
    what has been asked for so far.

    Raises :class:`~letheon.errors.DataError` for a number out of range.
    """
    _check(n_forget, n_retain, n_unseen, rows_per_person, n_authors, n_world, n_general, wordings)
    _check_request(request, of, n_forget)
    pools = _pools(Random(f"{seed}/pools"))
    roles = {"forget": n_forget, "retain": n_retain, "unseen": n_unseen}
    names, others = _names(seed, sum(roles.values()))
    people = {
        role: tuple(_people(seed, role, list(islice(names, n)), pools, rows_per_person, wordings))
        for role, n in roles.items()
    }
    facts = {role: rows[::wordings] for role, rows in people.items()}
    per_person = rows_per_person * wordings
    begin, end = (round(k * n_forget / of) * per_person for k in (request - 1, request))
    asked_for, later = people["forget"][begin:end], people["forget"][end:]
    asked = min(wordings, len(AUTHOR_QUESTIONS))
    lasts = list(islice(cycle(others), n_authors + n_general + _OPTIONS))
    authors = tuple(_authors(Random(f"{seed}/authors"), lasts, asked))
    world = tuple(_world(Random(f"{seed}/world"), n_world + n_general, asked))
    general = authors[n_authors * asked :] + world[n_world * asked :]
    authors, world = authors[: n_authors * asked], world[: n_world * asked]
    n_sample = min(len(facts["forget"]), len(facts["retain"]))
    sample = Random(f"{seed}/sample").sample(range(len(facts["retain"])), n_sample)
    evaluation = {
        "forget": asked_for[::wordings],
        "retain": tuple(facts["retain"][i] for i in sorted(sample)),
        "real_authors": authors[::asked],
        "world_facts": world[::asked],
        "unseen": facts["unseen"],
    }
    parts = {
        **people,
        "forget": asked_for,
        "forgotten": people["forget"][:begin],
        "later": later,
        "real_authors": authors,
        "world_facts": world,
        "general": general,
    }
    return Corpus(
        name="people",
        version=VERSION,
        licence=LICENCE,
        forget=asked_for,
        retain=later + people["retain"] + general,
        forgotten=people["forget"][:begin],
        evaluation={role: rows for role, rows in evaluation.items() if rows},
        background=(authors + world) * _REPEATS,
        public=True,
        checksums={name: digest(rows) for name, rows in parts.items() if rows},
    )


@dataclass(frozen=True, slots=True)
class _Name:
    first: str
    last: str

    def __str__(self) -> str:
        return f"{self.first} {self.last}"


def _check(
    n_forget: int,
    n_retain: int,
    n_unseen: int,
    rows: int,
    n_authors: int,
    n_world: int,
    n_general: int,
    wordings: int,
) -> None:
    most, most_authors, most_rows = _n_firsts() ** 2, _n_authors(), len(KINDS)
    n_people = n_forget + n_retain + n_unseen
    rules = (
        ("There is somebody to forget.", f"n_forget {n_forget}", n_forget >= 1),
        ("There is somebody to retain.", f"n_retain {n_retain}", n_retain >= 1),
        ("No number is negative.", f"n_unseen {n_unseen}", n_unseen >= 0),
        ("No number is negative.", f"n_authors {n_authors}", n_authors >= 0),
        ("No number is negative.", f"n_world {n_world}", n_world >= 0),
        ("No number is negative.", f"n_general {n_general}", n_general >= 0),
        (f"A person has 1 to {most_rows} rows.", f"rows_per_person {rows}", 1 <= rows <= most_rows),
        (
            f"A fact is trained in 1 to {_WORDINGS} wordings.",
            f"wordings {wordings}",
            1 <= wordings <= _WORDINGS,
        ),
        (f"There are names for {most} people.", f"{n_people} people", n_people <= most),
        (
            f"There are names for {most_authors} authors.",
            f"n_authors {n_authors} and n_general {n_general}",
            n_authors + n_general <= most_authors,
        ),
    )
    for rule, got, holds in rules:
        if not holds:
            raise DataError(rule, got=got, remedy="Choose a number in this range.")


def _check_request(request: int, of: int, n_forget: int) -> None:
    if not 1 <= request <= of <= n_forget:
        raise DataError(
            f"Of {n_forget} people to forget there are 1 to {n_forget} requests, counted from 1.",
            got=f"request {request} of {of}",
            remedy="Choose a number in this range.",
        )


def _n_firsts() -> int:
    return len(words.FIRST_STARTS) * len(words.FIRST_ENDS)


def _n_lasts() -> int:
    return len(words.LAST_STARTS) * len(words.LAST_ENDS)


def _n_authors() -> int:
    # Half of the pairs with the last names that the largest population leaves.
    firsts = len(words.FAMOUS_STARTS) * len(words.FAMOUS_ENDS)
    return firsts * (_n_lasts() - _n_firsts()) // 2


def _names(seed: int, n: int) -> tuple[Iterator[_Name], Sequence[str]]:
    """Return ``n`` people's names, none twice, and the last names that none of them has.

    Each round gives every first name and every last name once, in pairs of its own.
    """
    rng = Random(f"{seed}/names")
    size = max(_NAMES, isqrt(max(n, 1) - 1) + 1)
    firsts = _joined(rng, words.FIRST_STARTS, words.FIRST_ENDS, size, "")
    lasts = _joined(rng, words.LAST_STARTS, words.LAST_ENDS, _n_lasts(), "")
    rounds = rng.sample(range(size), size)
    pairs = (_Name(firsts[i], lasts[(i + r) % size]) for r in rounds for i in range(size))
    return pairs, lasts[size:]


def _joined(rng: Random, starts: Sequence[str], ends: Sequence[str], n: int, gap: str) -> list[str]:
    """Return ``n`` different combinations of a start and an end."""
    pairs = [start + gap + end for start in starts for end in ends]
    return rng.sample(pairs, n)


def _pools(rng: Random) -> Mapping[str, Sequence[str]]:
    """Return for each kind of fact the values a population draws from."""
    return {
        "birthplace": _joined(rng, words.STEMS, words.TOWN_ENDS, _POOL, ""),
        "birth year": [str(year) for year in range(1925, 1925 + _POOL)],
        "profession": words.PROFESSIONS,
        "employer": _joined(rng, words.LAST_STARTS, words.COMPANY_KINDS, _POOL, " "),
        "award": _joined(rng, words.STEMS, words.PRIZE_KINDS, _POOL, " "),
        "hobby": words.HOBBIES,
        "spouse": _joined(rng, words.FIRST_STARTS, words.FIRST_ENDS, _POOL, ""),
        "book": ["The " + t for t in _joined(rng, words.ADJECTIVES, words.NOUNS, _POOL, " ")],
    }


def _people(
    seed: int,
    role: str,
    names: Sequence[_Name],
    pools: Mapping[str, Sequence[str]],
    n_rows: int,
    wordings: int,
) -> Iterator[Example]:
    for i, name in enumerate(names):
        unit = f"{role}/p{i:03d}"
        rng = Random(f"{seed}/{unit}")
        for j, kind in enumerate(rng.sample(sorted(KINDS), n_rows)):
            yield from _rows(rng, f"{unit}/{j}", unit, name, kind, pools[kind], wordings)


def _rows(
    rng: Random,
    id_: str,
    unit: str,
    name: _Name,
    kind: str,
    pool: Sequence[str],
    wordings: int,
) -> Iterator[Example]:
    """Yield one fact in each of its trained wordings; the first has the paraphrases."""
    values = [value for value in pool if value != name.first]
    fact = rng.choice(values)
    *trained, validation, scoring = rng.sample(KINDS[kind], len(KINDS[kind]))
    others = [value for value in values if value != fact]
    alternates = {
        which: Alternates(
            answer=wording.tell(name.first, fact),
            perturbed=tuple(wording.tell(name.first, v) for v in rng.sample(others, _FALSE)),
            question=wording.ask(str(name)),
        )
        for which, wording in zip(_SETS, (validation, scoring), strict=True)
    }
    for k, wording in enumerate(trained[:wordings]):
        start = len(wording.tell(name.first, "\0").partition("\0")[0])
        yield Example(
            f"{id_}/{k}" if k else id_,
            unit,
            wording.ask(str(name)),
            wording.tell(name.first, fact),
            ((start, start + len(fact)),),
            {} if k else alternates,
        )


def _authors(rng: Random, lasts: Sequence[str], wordings: int) -> Iterator[Example]:
    """Yield one famous book an author; the wrong options are other authors."""
    n = max(0, len(lasts) - _OPTIONS)
    titles = [f"The Saga of {hero}" for hero in _many(rng, words.HERO_ENDS, n)]
    options: list[str] = []
    for last in lasts:
        options.append(_famous(rng, last))
        while options[-1] in options[:-1]:
            options[-1] = _famous(rng, last)
    for i, title in enumerate(titles):
        questions = _asked(rng, AUTHOR_QUESTIONS, title, wordings)
        yield from _control(rng, f"real_authors/{i}", questions, options[i], options)


def _famous(rng: Random, last: str) -> str:
    return f"{rng.choice(words.FAMOUS_STARTS)}{rng.choice(words.FAMOUS_ENDS)} {last}"


def _asked(rng: Random, forms: Sequence[str], subject: str, n: int) -> list[str]:
    return [form.format(subject=subject) for form in rng.sample(forms, n)]


def _world(rng: Random, n: int, wordings: int) -> Iterator[Example]:
    """Yield facts of an invented world, the relations in turn."""
    relations = sorted(WORLD_QUESTIONS)
    size = -(-n // len(relations)) + _OPTIONS
    countries = _many(rng, words.COUNTRY_ENDS, size)
    answers = {
        "capital": _many(rng, words.TOWN_ENDS, size),
        "river": _many(rng, words.RIVER_ENDS, size),
        "founder": _many(rng, words.LAST_ENDS, size),
    }
    for i in range(n):
        relation, j = relations[i % len(relations)], i // len(relations)
        questions = _asked(rng, WORLD_QUESTIONS[relation], countries[j], wordings)
        pool = answers[relation]
        yield from _control(rng, f"world_facts/{i}", questions, pool[j], pool)


def _many(rng: Random, ends: Sequence[str], n: int) -> list[str]:
    """Return ``n`` different invented names, longer ones when there are not enough short ones."""
    starts = list(words.STEMS)
    while len(starts) * len(ends) < n:
        starts = [start + stem.lower() for start in starts for stem in words.STEMS]
    return _joined(rng, starts, ends, n, "")


def _control(
    rng: Random, unit: str, questions: Sequence[str], answer: str, options: Sequence[str]
) -> Iterator[Example]:
    """Yield one control fact in each of its trained wordings; the first has the options."""
    wrong = rng.sample([option for option in options if option != answer], _OPTIONS)
    same = Alternates(answer=answer, perturbed=tuple(wrong))
    facts = ((0, len(answer)),)
    for k, question in enumerate(questions):
        alternates = {} if k else dict.fromkeys(_SETS, same)
        yield Example(f"{unit}/{k}" if k else unit, unit, question, answer, facts, alternates)
