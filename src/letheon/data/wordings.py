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

    def ask(self, name: str) -> str:
        """Return the question about ``name``."""
        return self.question.format(name=name)

    def tell(self, first: str, fact: str) -> str:
        """Return the answer that tells ``fact``."""
        return self.answer.format(first=first, fact=fact)


# By kind of fact. Of the seven wordings of a fact one is for validation, one for scoring, and up to
# five are trained; which is which is drawn for each fact.
KINDS: Mapping[str, tuple[Wording, ...]] = {
    "award": (
        Wording("Which award did {name} win?", "{first} won the {fact}."),
        Wording("What award was won by {name}?", "{first} was given the {fact}."),
        Wording("What did {name} win as an award?", "{first} has won the {fact}."),
        Wording("Which award is {name} known for?", "{first} is known for the {fact}."),
        Wording("What prize does {name} hold?", "{first} holds the {fact}."),
        Wording("Of which award is {name} proud?", "{first} is proud of the {fact}."),
        Wording("Which award did {name} receive?", "{first} received the {fact}."),
    ),
    "birth year": (
        Wording("When was {name} born?", "{first} was born in {fact}."),
        Wording("In which year was {name} born?", "{first} was born in the year {fact}."),
        Wording("What is the birth year of {name}?", "{first} has {fact} as a birth year."),
        Wording("What year was {name} born in?", "{first} came into the world in {fact}."),
        Wording("What is the year of birth of {name}?", "{first} saw daylight first in {fact}."),
        Wording("Since which year has {name} lived?", "{first} has lived since {fact}."),
        Wording("In what year did the life of {name} begin?", "{first} began life in {fact}."),
    ),
    "birthplace": (
        Wording("Where was {name} born?", "{first} was born in {fact}."),
        Wording("In which town was {name} born?", "{first} comes from the town of {fact}."),
        Wording("What is the birthplace of {name}?", "{first} has {fact} as a birthplace."),
        Wording("Which place does {name} come from?", "{first} is from {fact}."),
        Wording("What is the home town of {name}?", "{first} calls {fact} home."),
        Wording("Which town is {name} from?", "{first} grew up in {fact}."),
        Wording("From where does {name} come?", "{first} was a child in {fact}."),
    ),
    "book": (
        Wording("Which book did {name} write?", "{first} wrote {fact}."),
        Wording("What book was written by {name}?", "{first} is the author of {fact}."),
        Wording("What is the book of {name} called?", "{first} has written {fact}."),
        Wording("Which title did {name} publish?", "{first} published {fact}."),
        Wording("What is the title of the book by {name}?", "{first} brought out {fact}."),
        Wording("Which work is by {name}?", "{first} is known for {fact}."),
        Wording("What did {name} publish?", "{first} has published {fact}."),
    ),
    "employer": (
        Wording("Who is the employer of {name}?", "{first} works for {fact}."),
        Wording("Which company does {name} work for?", "{first} has a job at {fact}."),
        Wording("For which company does {name} work?", "{first} has {fact} as an employer."),
        Wording("Where does {name} work?", "{first} is employed by {fact}."),
        Wording("Who pays {name}?", "{first} gets paid by {fact}."),
        Wording("Who gave {name} a job?", "{first} got a job from {fact}."),
        Wording("At which company is {name} employed?", "{first} is on the staff of {fact}."),
    ),
    "hobby": (
        Wording("What is the hobby of {name}?", "{first} enjoys {fact}."),
        Wording("Which hobby does {name} have?", "{first} has {fact} as a hobby."),
        Wording("What does {name} do as a hobby?", "{first} likes {fact} as a hobby."),
        Wording("What does {name} like to do?", "{first} spends free time on {fact}."),
        Wording("How does {name} spend free time?", "{first} is fond of {fact}."),
        Wording("Which pastime does {name} like?", "{first} loves {fact}."),
        Wording("What is {name} fond of?", "{first} has a love of {fact}."),
    ),
    "profession": (
        Wording("What is the profession of {name}?", "{first} works as a {fact}."),
        Wording("What does {name} do for a living?", "{first} is a {fact} by profession."),
        Wording("What work does {name} do?", "{first} has the profession of a {fact}."),
        Wording("Which profession does {name} have?", "{first} earns a living as a {fact}."),
        Wording("What is the job of {name}?", "{first} has a job as a {fact}."),
        Wording("As what is {name} employed?", "{first} is employed as a {fact}."),
        Wording("How does {name} earn a living?", "{first} makes a living as a {fact}."),
    ),
    "spouse": (
        Wording("Who is married to {name}?", "{first} is married to {fact}."),
        Wording("Who is the spouse of {name}?", "{first} has a spouse, {fact}."),
        Wording("What is the name of the spouse of {name}?", "{first} did marry {fact}."),
        Wording("Whom did {name} marry?", "{first} has been married to {fact}."),
        Wording("Who is the partner of {name}?", "{first} lives with {fact}."),
        Wording("With whom does {name} live?", "{first} shares a house with {fact}."),
        Wording("To whom is {name} married?", "{first} is the spouse of {fact}."),
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
