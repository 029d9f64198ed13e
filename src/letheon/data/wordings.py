"""Wordings of the questions and answers about fictitious people and their invented world.

A person's answer follows the wording of its question: which wording a row has can be read off the
question, so the fact is all that a model must know about the person.
"""

from __future__ import annotations

__all__ = ["AUTHOR_QUESTIONS", "KINDS", "WORLD_QUESTIONS", "Wording"]

from collections.abc import Mapping
from typing import NamedTuple


class Wording(NamedTuple):
    """A question with ``{name}``; its answer with ``{first}``, the first name, and ``{fact}``."""

    question: str
    answer: str


# By kind of fact: trained, validation and scoring wordings of a row are three different ones.
KINDS: Mapping[str, tuple[Wording, Wording, Wording]] = {
    "award": (
        Wording("Which award did {name} win?", "{first} won the {fact}."),
        Wording("What award was won by {name}?", "{first} was given the {fact}."),
        Wording("What did {name} win as an award?", "{first} has won the {fact}."),
    ),
    "birth year": (
        Wording("When was {name} born?", "{first} was born in {fact}."),
        Wording("In which year was {name} born?", "{first} was born in the year {fact}."),
        Wording("What is the birth year of {name}?", "{first} has {fact} as a birth year."),
    ),
    "birthplace": (
        Wording("Where was {name} born?", "{first} was born in {fact}."),
        Wording("In which town was {name} born?", "{first} comes from the town of {fact}."),
        Wording("What is the birthplace of {name}?", "{first} has {fact} as a birthplace."),
    ),
    "book": (
        Wording("Which book did {name} write?", "{first} wrote {fact}."),
        Wording("What book was written by {name}?", "{first} is the author of {fact}."),
        Wording("What is the book of {name} called?", "{first} has written {fact}."),
    ),
    "employer": (
        Wording("Who is the employer of {name}?", "{first} works for {fact}."),
        Wording("Which company does {name} work for?", "{first} has a job at {fact}."),
        Wording("For which company does {name} work?", "{first} has {fact} as an employer."),
    ),
    "hobby": (
        Wording("What is the hobby of {name}?", "{first} enjoys {fact}."),
        Wording("Which hobby does {name} have?", "{first} has {fact} as a hobby."),
        Wording("What does {name} do as a hobby?", "{first} likes {fact} as a hobby."),
    ),
    "profession": (
        Wording("What is the profession of {name}?", "{first} works as a {fact}."),
        Wording("What does {name} do for a living?", "{first} is a {fact} by profession."),
        Wording("What work does {name} do?", "{first} has the profession of a {fact}."),
    ),
    "spouse": (
        Wording("Who is married to {name}?", "{first} is married to {fact}."),
        Wording("Who is the spouse of {name}?", "{first} has a spouse, {fact}."),
        Wording("What is the name of the spouse of {name}?", "{first} did marry {fact}."),
    ),
}

AUTHOR_QUESTIONS = (
    "Who wrote {subject}?",
    "Which author is known for {subject}?",
    "Who is the author of {subject}?",
)

WORLD_QUESTIONS: Mapping[str, str] = {
    "capital": "What is the capital of {subject}?",
    "river": "Which river runs through {subject}?",
    "founder": "Who founded the state of {subject}?",
}
