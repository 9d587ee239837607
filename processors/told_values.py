"""What a source writes for nothing, and for several things, as the value of one column. Pure.

What is of another type goes on as it is, so that the column judges it and its row is refused: 0 is a number and no
blank, false is no name, and the letters of a text are not several things.
"""

from __future__ import annotations

from typing import Any


def unless_blank(value: Any) -> Any:
    """None for an empty text.

    >>> unless_blank(""), unless_blank("7"), unless_blank(0), unless_blank(False)
    (None, '7', 0, False)
    """
    return None if value == "" else value


def unless_nobody(value: Any) -> Any:
    """None for the id 0, and for an empty text.

    >>> unless_nobody(0), unless_nobody(1610612738), unless_nobody(False)
    (None, 1610612738, False)
    """
    return None if type(value) is int and value == 0 else unless_blank(value)


def joined(values: Any, separator: str = ", ") -> Any:
    """The texts of a list as one, None for none of them; one text is one already.

    >>> joined(["a", "b"]), joined("a, b"), joined([]), joined(None), joined(["a", 7])
    ('a, b', 'a, b', None, None, ['a', 7])
    """
    if isinstance(values, list) and all(isinstance(one, str) for one in values):
        return separator.join(values) or None
    return unless_blank(values)
