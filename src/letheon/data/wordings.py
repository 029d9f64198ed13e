"""Wordings: the ways to ask for and to state each kind of fact about a fictitious person.

A row's trained, validation and scoring wordings are three different ones of these lists, drawn for
each person anew. So every wording is met in training with other people, and what tells a person's
paraphrased answer from a false one is the fact, not the wording.
"""

from __future__ import annotations

__all__ = ["AUTHOR_QUESTIONS", "KINDS", "WORLD_QUESTIONS", "Wording"]

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """Questions with ``{name}``; answers with ``{first}`` (the first name) and one ``{fact}``."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]


KINDS: Mapping[str, Wording] = {
    "birthplace": Wording(
        (
            "Where was {name} born?",
            "In which town was {name} born?",
            "What is the birthplace of {name}?",
            "Which town is the birthplace of {name}?",
            "{name} was born in which town?",
            "Which town was {name} born in?",
        ),
        (
            "{first} was born in {fact}.",
            "The birthplace of {first} is {fact}.",
            "The town where {first} was born is {fact}.",
            "It was in {fact} that {first} was born.",
            "{first} comes from the town of {fact}.",
            "{first} has {fact} as a birthplace.",
        ),
    ),
    "birth year": Wording(
        (
            "When was {name} born?",
            "In which year was {name} born?",
            "What is the birth year of {name}?",
            "Which year is the birth year of {name}?",
            "{name} was born in which year?",
            "Which year was {name} born in?",
        ),
        (
            "{first} was born in {fact}.",
            "The birth year of {first} is {fact}.",
            "The year when {first} was born is {fact}.",
            "It was in {fact} that {first} was born.",
            "{first} was born in the year {fact}.",
            "{first} has {fact} as a birth year.",
        ),
    ),
    "profession": Wording(
        (
            "What is the profession of {name}?",
            "What does {name} do for a living?",
            "What work does {name} do?",
            "Which profession does {name} have?",
            "{name} works in which profession?",
            "What is {name} by profession?",
        ),
        (
            "{first} works as a {fact}.",
            "The profession of {first} is {fact}.",
            "For a living, {first} is a {fact}.",
            "{first} is a {fact} by profession.",
            "The work of {first} is that of a {fact}.",
            "{first} has the profession of a {fact}.",
        ),
    ),
    "employer": Wording(
        (
            "Who is the employer of {name}?",
            "Which company does {name} work for?",
            "For which company does {name} work?",
            "Which company is the employer of {name}?",
            "{name} works for which company?",
            "At which company does {name} have a job?",
        ),
        (
            "{first} works for {fact}.",
            "The employer of {first} is {fact}.",
            "The company that {first} works for is {fact}.",
            "It is {fact} that {first} works for.",
            "{first} has a job at {fact}.",
            "{first} has {fact} as an employer.",
        ),
    ),
    "award": Wording(
        (
            "Which award did {name} win?",
            "What award was won by {name}?",
            "What did {name} win as an award?",
            "Which award was given to {name}?",
            "{name} won which award?",
            "Which award does {name} have?",
        ),
        (
            "{first} won the {fact}.",
            "The award of {first} is the {fact}.",
            "The award that {first} won is the {fact}.",
            "It was the {fact} that {first} won.",
            "{first} was given the {fact}.",
            "{first} has won the {fact}.",
        ),
    ),
    "hobby": Wording(
        (
            "What is the hobby of {name}?",
            "Which hobby does {name} have?",
            "What does {name} do as a hobby?",
            "What hobby does {name} enjoy?",
            "{name} enjoys which hobby?",
            "Which hobby is that of {name}?",
        ),
        (
            "{first} enjoys {fact}.",
            "The hobby of {first} is {fact}.",
            "The hobby that {first} enjoys is {fact}.",
            "It is {fact} that {first} enjoys.",
            "As a hobby, {first} likes {fact}.",
            "{first} has {fact} as a hobby.",
        ),
    ),
    "mother": Wording(
        (
            "What is the profession of the mother of {name}?",
            "What does the mother of {name} do for a living?",
            "What work does the mother of {name} do?",
            "Which profession does the mother of {name} have?",
            "The mother of {name} works in which profession?",
            "What is the mother of {name} by profession?",
        ),
        (
            "The mother of {first} works as a {fact}.",
            "The profession of the mother is {fact}.",
            "For a living, the mother is a {fact}.",
            "The mother is a {fact} by profession.",
            "The mother of {first} is a {fact}.",
            "The mother has the profession of a {fact}.",
        ),
    ),
    "father": Wording(
        (
            "What is the profession of the father of {name}?",
            "What does the father of {name} do for a living?",
            "What work does the father of {name} do?",
            "Which profession does the father of {name} have?",
            "The father of {name} works in which profession?",
            "What is the father of {name} by profession?",
        ),
        (
            "The father of {first} works as a {fact}.",
            "The profession of the father is {fact}.",
            "For a living, the father is a {fact}.",
            "The father is a {fact} by profession.",
            "The father of {first} is a {fact}.",
            "The father has the profession of a {fact}.",
        ),
    ),
    "spouse": Wording(
        (
            "Who is married to {name}?",
            "Who is the spouse of {name}?",
            "What is the name of the spouse of {name}?",
            "Whom did {name} marry?",
            "{name} is married to whom?",
            "To whom is {name} married?",
        ),
        (
            "{first} is married to {fact}.",
            "The spouse of {first} is {fact}.",
            "The name of the spouse is {fact}.",
            "It was {fact} whom {first} did marry.",
            "{first} has a spouse, {fact}.",
            "{first} did marry {fact}.",
        ),
    ),
    "book": Wording(
        (
            "Which book did {name} write?",
            "What book was written by {name}?",
            "What is the book of {name} called?",
            "Which book is by {name}?",
            "{name} wrote which book?",
            "Of which book is {name} the author?",
        ),
        (
            "{first} wrote {fact}.",
            "The book of {first} is {fact}.",
            "The book that {first} wrote is called {fact}.",
            "It was {fact} that {first} wrote.",
            "{first} is the author of {fact}.",
            "{first} has written {fact}.",
        ),
    ),
    "dish": Wording(
        (
            "What is the favourite dish of {name}?",
            "Which dish does {name} like best?",
            "What does {name} like best to eat?",
            "What dish is the favourite of {name}?",
            "{name} likes which dish best?",
            "Which favourite dish does {name} have?",
        ),
        (
            "{first} likes {fact} best.",
            "The favourite dish of {first} is {fact}.",
            "The dish that {first} likes best is {fact}.",
            "It is {fact} that {first} likes best.",
            "Best of all, {first} likes {fact}.",
            "{first} has {fact} as a favourite dish.",
        ),
    ),
    "pet": Wording(
        (
            "Which pet does {name} keep?",
            "What animal does {name} keep as a pet?",
            "What is the pet of {name}?",
            "Which animal is the pet of {name}?",
            "{name} keeps which pet?",
            "Which pet does {name} have?",
        ),
        (
            "{first} keeps a pet {fact}.",
            "The pet of {first} is a {fact}.",
            "The animal that {first} keeps is a {fact}.",
            "It is a {fact} that {first} keeps.",
            "As a pet, {first} has a {fact}.",
            "{first} has a {fact} as a pet.",
        ),
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
