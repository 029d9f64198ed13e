"""Whether strings stand in a file, in any of the forms that files give to text.

A file is read as it is and, where it is compressed (Parquet columns, zip, gzip, bz2, xz), as what
it holds; where it is JSON, YAML or HTML also as its reader sees it, without escapes and tags.
What is encrypted, or in an encoding that is not among these, is not seen.
"""

from __future__ import annotations

__all__ = ["LEAST", "Traces", "UnreadableError"]

import bz2
import gzip
import html
import json
import lzma
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

LEAST = 8
"""The fewest characters of a string that is looked for: shorter ones stand anywhere by chance."""

_CHUNK = 1 << 23
_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_DAMAGED = (zipfile.BadZipFile, lzma.LZMAError, zlib.error)
_CLOSED = {b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar"}


class UnreadableError(ValueError):
    """A file is compressed in a way that is not read here, or damaged."""


class Traces:
    """Strings of at least ``LEAST`` characters, looked for all at once."""

    def __init__(self, strings: Iterable[str]) -> None:
        self.strings = tuple(dict.fromkeys(strings))
        assert all(len(text) >= LEAST for text in self.strings)
        self._forms: dict[bytes, list[tuple[bytes, int]]] = defaultdict(list)
        for number, text in enumerate(self.strings):
            for form in _forms(text):
                self._forms[form[:LEAST]].append((form, number))
        self._keys = np.array([int.from_bytes(key, "little") for key in self._forms], np.uint64)
        self._first = np.zeros(1 << 16, np.bool_)
        self._first[(self._keys & np.uint64(0xFFFF)).astype(np.intp)] = True
        longest = (len(form) for group in self._forms.values() for form, _ in group)
        self._overlap = max(longest, default=1) - 1

    def in_file(self, path: Path) -> set[int]:
        """Return the numbers of the strings that stand in the file at ``path``.

        Raises UnreadableError where it cannot be read or decompressed.
        """
        try:
            with path.open("rb") as stream:
                return self._in_stream(stream, path.name)
        except (EOFError, OSError, RuntimeError, ValueError, *_DAMAGED) as error:
            raise UnreadableError(str(error) or type(error).__name__) from error

    def in_text(self, text: str) -> set[int]:
        """Return the numbers of the strings that stand in ``text``."""
        return self._in_bytes(text.encode(errors="surrogatepass")) | self._in_bytes(
            _on_one_line(text).encode(errors="surrogatepass")
        )

    def _in_stream(self, stream: IO[bytes], name: str) -> set[int]:
        found: set[int] = set()
        tail = b""
        while block := stream.read(_CHUNK):
            found |= self._in_bytes(tail + block)
            tail = (tail + block)[-self._overlap :] if self._overlap else b""
        stream.seek(0)
        for text in _inside(stream, name):
            found |= self.in_text(text) if isinstance(text, str) else self._in_stream(*text)
        return found

    def _in_bytes(self, chunk: bytes) -> set[int]:
        if len(chunk) < LEAST or not len(self._keys):
            return set()
        data = np.frombuffer(chunk, np.uint8)
        # Two bytes rule out most places, eight nearly all others; the rest is compared.
        pairs = data[: 1 - LEAST].astype(np.uint16) | data[1 : 2 - LEAST].astype(np.uint16) << 8
        at = np.flatnonzero(self._first[pairs] if len(pairs) else [])
        keys = np.zeros(len(at), np.uint64)
        for k in range(LEAST):
            keys |= data[at + k].astype(np.uint64) << np.uint64(8 * k)
        return {
            number
            for place in at[np.isin(keys, self._keys)].tolist()
            for form, number in self._forms[chunk[place : place + LEAST]]
            if chunk.startswith(form, place)
        }


def _forms(text: str) -> set[bytes]:
    """Return the bytes that stand for ``text`` in files that are not parsed."""
    found: set[str] = set()
    for plain in (text, _on_one_line(text)):
        escaped = (json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1])
        found |= {plain, repr(plain)[1:-1], *escaped}
        found |= {json.dumps(each)[1:-1] for each in escaped}
        # Spaces in the two usual kinds of vocabulary.
        found |= {plain.replace(" ", mark) for mark in "Ġ▁"}
    for each in list(found):
        found.add(html.escape(each))
        found.add(html.escape(each).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"))
        found.add(re.sub("[<>&']", lambda sign: f"\\u{ord(sign[0]):04x}", each))
    wide = {text.encode(code, "surrogatepass") for code in ("utf-16-le", "utf-16-be")}
    return {each.encode(errors="surrogatepass") for each in found} | wide


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _inside(stream: IO[bytes], name: str) -> Iterator[str | tuple[IO[bytes], str]]:
    """Yield what a file holds that its bytes do not show: texts, and streams with their names."""
    head = stream.read(8)
    stream.seek(0)
    for magic, kind in _CLOSED.items():
        if head.startswith(magic):
            raise UnreadableError(f"compressed as {kind}")
    if head.startswith(b"PAR1"):
        yield from _parquet(stream)
    elif head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(stream) as archive:
            for entry in archive.infolist():
                yield entry.filename
                with archive.open(entry) as inner:
                    yield inner, entry.filename
    for magic, opened in _OPENERS.items():
        if head.startswith(magic):
            with opened(stream) as inner:
                yield inner, PurePosixPath(name).stem
    if (read := _READERS.get(PurePosixPath(name).suffix)) is not None:
        yield from read(stream.read().decode(errors="replace"))


def _parquet(stream: IO[bytes]) -> Iterator[str]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream)
    schema = file.schema_arrow
    yield repr(schema.metadata)
    for field in schema:
        yield f"{field.name}\n{field.metadata}"
    for batch in file.iter_batches():
        for column in batch.columns:
            if not _is_number(column.type):
                yield "\n".join(_strings(column.to_pylist()))


def _is_number(kind: Any) -> bool:
    import pyarrow.types as types

    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _strings(value: Any) -> Iterator[str]:
    """Yield every string in plain nested values, keys included."""
    match value:
        case str():
            yield value
        case bytes():
            yield value.decode(errors="replace")
        case dict():
            for key, item in value.items():
                yield from _strings(key)
                yield from _strings(item)
        case list() | tuple():
            for item in value:
                yield from _strings(item)


def _json(text: str) -> Iterator[str]:
    try:
        yield "\n".join(_strings(json.loads(text)))
    except ValueError:  # JSON lines, or no JSON: its bytes have been read already
        for line in text.split("\n"):
            try:
                yield "\n".join(_strings(json.loads(line)))
            except ValueError:
                continue


def _yaml(text: str) -> Iterator[str]:
    import yaml

    try:
        yield "\n".join(_strings(yaml.safe_load(text)))
    except (yaml.YAMLError, ValueError):
        return


def _html(text: str) -> Iterator[str]:
    yield html.unescape(re.sub(r"<[^>]*>", "", text))


_READERS = {
    ".json": _json,
    ".jsonl": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".html": _html,
}
