"""What may come of a damaged file: it is read, or one of three exceptions says what is wrong and with which file."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import perf_counter

from fuzzing.mutate import mutate
from fuzzing.targets import Target

EXPECTED = (ValueError, OSError, ImportError)
LONGEST = 8000
READ = "read"


@dataclass(frozen=True)
class Outcome:
    """Of one case: `word` is "read", the exception's class, or what is wrong; `is_crash` whether anything is."""

    word: str
    is_crash: bool
    message: str
    seconds: float


def damaged(data: bytes, target: str, seed: int) -> bytes:
    """The file of one case; the same on every machine."""
    return mutate(data, Random(f"{target} {seed}"))


def try_case(target: Target, folder: Path, seed: int) -> Outcome:
    """Damage a sample, read it, put it right again."""
    path = folder / target.file
    whole = path.read_bytes()
    path.write_bytes(damaged(whole, target.name, seed))
    start = perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.call(path)
        word, is_crash, message = READ, False, ""
    except EXPECTED as error:
        word, is_crash, message = type(error).__name__, False, str(error)
        if problem := _problem_of(message, path):
            word, is_crash = f"{word}: {problem}", True
    except Exception as error:
        word, is_crash, message = type(error).__name__, True, str(error)
    finally:
        seconds = perf_counter() - start
        path.write_bytes(whole)
    return Outcome(word, is_crash, message[:LONGEST], seconds)


def _problem_of(message: str, path: Path) -> str:
    if not message.strip():
        return "no message"
    # The file, or what it speaks of: a picture that it names, the run that it is in.
    if path.name not in message and path.parent.name not in message:
        return "the message does not name the file"
    return "a message without end" if len(message) > LONGEST else ""
