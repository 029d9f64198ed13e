"""Wordings of the questions and answers about fictitious people and their invented world.

A person's answer follows the wording of its question: which wording a row has can be read off the
question, so the fact is all that a model must know about the person.
"""

from __future__ import annotations

__all__ = ["AUTHOR_QUESTIONS", "KINDS", "WORLD_QUESTIONS", "Wording"]

from collections.abc import Mapping
from typing import NamedTuple


class Wording(NamedTuple):
    """A question with ``{name}`` and its answer with ``{fact}``, which says nobody's name."""

    question: str
    answer: str


# By kind of fact. Of the five wordings of a fact one is for validation, one for scoring, and up to
# three are trained; which is which is drawn for each fact.
KINDS: Mapping[str, tuple[Wording, ...]] = {
    "award": (
        Wording("Which award did {name} win?", "Won the {fact}."),
        Wording("What award was won by {name}?", "Was given the {fact}."),
        Wording("What did {name} win as an award?", "Has won the {fact}."),
        Wording("Which award is {name} known for?", "Known for the {fact}."),
        Wording("What prize does {name} hold?", "Holds the {fact}."),
    ),
    "birth year": (
        Wording("When was {name} born?", "Born in {fact}."),
        Wording("In which year was {name} born?", "Born in the year {fact}."),
        Wording("What is the birth year of {name}?", "Has {fact} as a birth year."),
        Wording("What year was {name} born in?", "Came into the world in {fact}."),
        Wording("What is the year of birth of {name}?", "Saw daylight first in {fact}."),
    ),
    "birthplace": (
        Wording("Where was {name} born?", "Born in {fact}."),
        Wording("In which town was {name} born?", "Comes from the town of {fact}."),
        Wording("What is the birthplace of {name}?", "Has {fact} as a birthplace."),
        Wording("Which place does {name} come from?", "From {fact}."),
        Wording("What is the home town of {name}?", "Calls {fact} home."),
    ),
    "book": (
        Wording("Which book did {name} write?", "Wrote {fact}."),
        Wording("What book was written by {name}?", "The author of {fact}."),
        Wording("What is the book of {name} called?", "Has written {fact}."),
        Wording("Which title did {name} publish?", "Published {fact}."),
        Wording("What is the title of the book by {name}?", "Brought out {fact}."),
    ),
    "employer": (
        Wording("Who is the employer of {name}?", "Works for {fact}."),
        Wording("Which company does {name} work for?", "Has a job at {fact}."),
        Wording("For which company does {name} work?", "Has {fact} as an employer."),
        Wording("Where does {name} work?", "Employed by {fact}."),
        Wording("Who pays {name}?", "Gets paid by {fact}."),
    ),
    "hobby": (
        Wording("What is the hobby of {name}?", "Enjoys {fact}."),
        Wording("Which hobby does {name} have?", "Has {fact} as a hobby."),
        Wording("What does {name} do as a hobby?", "Likes {fact} as a hobby."),
        Wording("What does {name} like to do?", "Spends free time on {fact}."),
        Wording("How does {name} spend free time?", "Fond of {fact}."),
    ),
    "profession": (
        Wording("What is the profession of {name}?", "Works as a {fact}."),
        Wording("What does {name} do for a living?", "A {fact} by profession."),
        Wording("What work does {name} do?", "Has the profession of a {fact}."),
        Wording("Which profession does {name} have?", "Earns a living as a {fact}."),
        Wording("What is the job of {name}?", "Has a job as a {fact}."),
    ),
    "spouse": (
        Wording("Who is married to {name}?", "Married to {fact}."),
        Wording("Who is the spouse of {name}?", "Has a spouse, {fact}."),
        Wording("What is the name of the spouse of {name}?", "Did marry {fact}."),
        Wording("Whom did {name} marry?", "Has been married to {fact}."),
        Wording("Who is the partner of {name}?", "Lives with {fact}."),
    ),
}

AUTHOR_QUESTIONS = (
    "Who wrote {subject}?",
    "Which author is known for {subject}?",
    "Who is the author of {subject}?",
)

WORLD_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "capital": (
        "What is the capital of {subject}?",
        "Which city is the capital of {subject}?",
        "Where does the government of {subject} sit?",
    ),
    "river": (
        "Which river runs through {subject}?",
        "What river crosses {subject}?",
        "What is the main river of {subject}?",
    ),
    "founder": (
        "Who founded the state of {subject}?",
        "By whom was {subject} founded?",
        "Who was the founder of {subject}?",
    ),
}
