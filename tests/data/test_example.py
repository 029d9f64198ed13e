from __future__ import annotations

import hashlib
from dataclasses import replace

from letheon.data.example import Alternates, Example, digest, digest_rows

ROW = Example("a/0", "a", "q?", "é.", ((0, 1),), {"scoring": Alternates("b", ("c",), "d")})


def test_rows_have_the_digest_of_canonical_json_lines() -> None:
    lines = '{"a":"é","b":[1]}\n{"a":1}\n'
    rows = [{"b": [1], "a": "é"}, {"a": 1}]
    assert digest_rows(rows) == hashlib.sha256(lines.encode()).hexdigest()


def test_every_field_counts() -> None:
    changed = [
        replace(ROW, id="a/1"),
        replace(ROW, unit="b"),
        replace(ROW, question="q"),
        replace(ROW, answer="e."),
        replace(ROW, facts=()),
        replace(ROW, alternates={"scoring": Alternates("b", ("c",))}),
    ]
    digests = {digest([row]) for row in [ROW, *changed]} | {digest([ROW, ROW]), digest([])}
    assert len(digests) == len(changed) + 3
