"""Damage to a valid file: to its bytes, its words, or the structure of its JSON. The generator decides all."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

NUMBERS = ("NaN", "Infinity", "-Infinity", "1e400", "-1", "0", "-0.0", "1e308", "9" * 400, "9" * 5000, "2147483648")
NUMBERS += ("18446744073709551616", "1e-320", "0.5", "true", "null", '""', "[]", "{}", "1_000", "٣", "0x10")
WORDS = (
    "",
    "\n",
    "\r\n",
    "\0",
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\x",
    "\x1b[31m",
    "a" * 5000,
    "\u202e",
    "\ufeff",
)
WORDS += ("\ufeff", "\ud83d", "nan", "__proto__", ",", '"', "'", "%s", "<b>", "&lt;", "x,y", "\x85", "\u2028")
VALUES: tuple[Any, ...] = (None, True, -1, 0, 1e308, 10**400, 2**63, 0.5, "", "x", [], {}, [[]], [None], {"": {}})
WHOLE = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
_NUMBER, _TEXT = re.compile(rb"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"), re.compile(rb'"[^"\n]{0,200}"')


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The file with one to four kinds of damage, one after the other."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_kinds(data))(data, rng)
    return data


def _kinds(data: bytes) -> list[Mutation]:
    kinds = [_flip, _cut, _insert, _remove, _repeat, _overwrite_number, _encode]
    if data[:1] in (b"{", b"["):
        return [*kinds, *[_structure] * 10, _number, _word, _nest]
    is_text = b"\0" not in data[:512]
    return [*kinds, *[_number] * 4, *[_word] * 2, _cell] if is_text else [*kinds, _flip, _overwrite_number, _flip]


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 4, 16, 256, 4096)))


def _flip(data: bytes, rng: random.Random) -> bytes:
    # Headers stand at the front: half of the damage goes there.
    front = len(data) if rng.random() < 0.5 else min(len(data), 256)
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 64))):
        if front:
            changed[rng.randrange(front)] = rng.randrange(256)
    return bytes(changed)


def _overwrite_number(data: bytes, rng: random.Random) -> bytes:
    size = rng.choice((1, 2, 4, 8))
    start = rng.randrange(max(1, min(len(data), rng.choice((64, 512, len(data) or 1)))))
    value = rng.choice(WHOLE) & (256**size - 1)
    return data[:start] + value.to_bytes(size, rng.choice(("little", "big"))) + data[start + size :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _remove(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 2, 50)) + data[end:]


def _insert(data: bytes, rng: random.Random) -> bytes:
    start, _ = _span(data, rng)
    return (
        data[:start]
        + rng.choice((b"\0", b"\xff", b"\xef\xbb\xbf", b"\n", b'"', b"\\u0000", rng.randbytes(8)))
        + data[start:]
    )


def _encode(data: bytes, rng: random.Random) -> bytes:
    """Another encoding, where it is text at all."""
    if rng.random() < 0.7:
        return _flip(data, rng)
    return data.decode("latin-1").encode(rng.choice(("utf-16", "utf-8-sig", "utf-32-le", "cp037")))


def _replace(pattern: re.Pattern[bytes], data: bytes, new: bytes, rng: random.Random) -> bytes:
    found = list(pattern.finditer(data[:20_000]))
    if not found:
        return _flip(data, rng)
    one = rng.choice(found)
    return data[: one.start()] + new + data[one.end() :]


def _number(data: bytes, rng: random.Random) -> bytes:
    return _replace(_NUMBER, data, rng.choice(NUMBERS).encode(), rng)


def _word(data: bytes, rng: random.Random) -> bytes:
    word = rng.choice(WORDS)
    return _replace(_TEXT, data, rng.choice((json.dumps(word), f'"{word}"')).encode("utf-8", "surrogatepass"), rng)


def _cell(data: bytes, rng: random.Random) -> bytes:
    rows = data.split(b"\n")
    row = rng.randrange(len(rows))
    cells = rows[row].split(b",")
    cells[rng.randrange(len(cells))] = rng.choice(WORDS).encode("utf-8", "surrogatepass")
    rows[row] = b",".join(cells)
    return b"\n".join(rows)


def _nest(data: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((10, 1000, 200_000))
    return rng.choice(
        (b"[" * depth, b"[" * depth + b"]" * depth, b'{"a":' * depth, _replace(_NUMBER, data, b"[" * depth, rng))
    )


def _structure(data: bytes, rng: random.Random) -> bytes:
    """Another value, one entry less, one twice, or one more, somewhere in a JSON file."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return _flip(data, rng)
    place, key = _somewhere(content, rng)
    if place is None:
        return json.dumps(rng.choice(VALUES)).encode()
    way = rng.randrange(6)
    if way == 0:
        del place[key]
    elif way == 1 and isinstance(place, list):
        place.insert(key, place[key])
    elif way == 2 and isinstance(place, dict):
        place[rng.choice(WORDS)] = place.pop(key)
    elif way == 3:
        place[key] = rng.choice(WORDS)
    elif way == 4:
        place[key] = [place[key]]
    else:
        place[key] = rng.choice(VALUES)
    return json.dumps(content).encode()


def _somewhere(content: Any, rng: random.Random) -> tuple[Any, Any]:
    """A list or an object, and a key of it; (None, None) for the whole."""
    place, key = None, None
    node = content
    while isinstance(node, (dict, list)) and node and (place is None or rng.random() < 0.75):
        place, key = node, rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        node = node[key]
    return place, key
