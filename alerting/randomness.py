"""Whether a text looks like a key that a machine made."""

from __future__ import annotations

import itertools
import re

NUMBER = re.compile(r"[+-]?\d[\d_.,]*")
DATE = re.compile(r"\d{4}-\d\d(?:-\d\d)?(?:[T ~/.].*)?")
_RANDOM_PART = re.compile(r"[A-Za-z]+\d+[A-Za-z]|\d+[A-Za-z]+\d|[0-9a-fA-F]{16}|[A-Za-z0-9]{24}")


def looks_random(value: str) -> bool:
    """Whether a text is a key rather than a word, a name, a number or a date.

    >>> looks_random("pl4nted-S3cret-value"), looks_random("9f8e7d6c5b4a39281706"), looks_random("hQwErTyUiOp")
    (True, True, True)
    >>> looks_random("game_id2"), looks_random("box_scores_2024"), looks_random("2021-03-04"), looks_random("Completed")
    (False, False, False, False)
    """
    if len(value) < 6 or DATE.fullmatch(value) or NUMBER.fullmatch(value):
        return False
    if any(_RANDOM_PART.search(part) or _is_mixed(part) for part in re.split(r"[-_./~:]", value)):
        return True
    return _is_scattered(value[:64])


def _is_mixed(part: str) -> bool:
    """Upper and lower case in a wilder order than in ``GoogleCloudStorage``."""
    if len(part) < 8 or not part.isalpha() or part.islower() or part.isupper():
        return False
    switches = sum(one.isupper() != other.isupper() for one, other in itertools.pairwise(part[:64]))
    return switches > min(len(part), 64) * 0.36


def _is_scattered(value: str) -> bool:
    """As password managers make them: small, capital, digit and sign, and the next character is of another kind.

    >>> _is_scattered("p4]c^g@y([b~d.$9Z"), _is_scattered('attrgetter("Game_2")'), _is_scattered("%Y-%m-%dT%H:%M:%S")
    (True, False, False)
    """
    kinds = ["a" if one.islower() else "A" if one.isupper() else "0" if one.isdigit() else one for one in value]
    switches = sum(one != other for one, other in itertools.pairwise(kinds))
    signs = set(kinds) - set("aA0")
    return len(value) >= 10 and set("aA0") < set(kinds) and len(signs) > 1 and switches * 2.5 > len(value)
