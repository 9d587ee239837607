"""What a column of BigQuery holds unchanged: the checks that pydantic's own types leave out. Pure.

Pydantic reads ``true`` as 1, ``"1_000"`` as 1000, ``"20250103"`` as seconds since 1970, and takes integers, decimals
and instants of any size; BigQuery would then round, cut or refuse. Here each type in the schema of a row model gets
the limits of its column (https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-types), so that such
a value is a reject with its column, whether it stands in the row, in a RECORD of it or in a list.

A conversion that changes nothing stays: 5.0 and "5" are the integer 5. A model that means another one says so with a
validator of its own, which is asked first.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal, NoReturn

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from scrapers.json_bodies import TinyNumber

INT64 = range(-(2**63), 2**63)
EXACT_IN_JSON = range(-(2**53) + 1, 2**53)
"""Integers that a reader of JSON with double precision keeps; BigQuery wants others as text."""

EXACT, READ = "(exact)", "(read)"
"""In the path of an error: the same value without a conversion, and with one. Only the second says what is wrong."""

_UINT64_END = 2**64
_MILLISECONDS_FROM = 2 * 10**10
"""From here on pydantic takes seconds since 1970 for milliseconds, and below milliseconds of 1970 for seconds."""
_FRACTIONS_END = 2**52
"""From here on a double has no fractions: 4503599627370497.5 is read as ...498."""
_FLOAT_DIGITS = 15
"""Decimal digits that every double keeps."""

_NUMERIC_DIGITS, _NUMERIC_DECIMALS = 29, 9
_BIGNUMERIC_DECIMALS = 38
_BIGNUMERIC_END = 2**255
"""Of the number without its point: BIGNUMERIC is an integer of 256 bits with 38 decimals."""
_IS_BIG, _IS_HELD = "is_bignumeric", "is_held_by_column"

# What nearly every source sends, and what pydantic reads of it without one function of Python: a third of the time.
_PLAIN_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_PLAIN_INSTANT = (
    r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})$"
)

_NUMBER = re.compile(r"\s*[+-]?\d+(?:\.\d*)?\s*")
_OTHER_NUMBER = re.compile(r"\s*[+-]?0\d|\s*[+-]?\d[\d.]*_|.*(?![0-9])\d", re.DOTALL)
_WHOLE = re.compile(r"\s*[+-]?\d+(?:\.0*)?\s*")
# 1.000 is a thousand in half of Europe.
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:\.000)+\s*")
_MICROSECOND_DIGITS = 6
_TOO_FINE = "BigQuery holds microseconds: what is finer would be cut off"
_BELOW_MICROSECONDS = re.compile(r"[.,]\d{6}\d*[1-9]")


class BigNumericColumn:
    """Marks a ``Decimal`` whose column is BIGNUMERIC: see ``processors.base.BigNumeric``."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the decimal, with the mark."""
        found: Any = handler(source)
        return {**found, "metadata": {**found.get("metadata", {}), _IS_BIG: True}}


def held_by_columns(schema: Any) -> Any:
    """The core schema of a row model, every value in it limited to what its column holds."""
    if isinstance(schema, list):
        return [held_by_columns(one) for one in schema]
    if not isinstance(schema, dict) or schema.get("metadata", {}).get(_IS_HELD):
        return schema
    limited = _LIMITED.get(schema.get("type", ""))
    if limited:
        return {**limited(schema), "metadata": {_IS_HELD: True}}
    found = dict(schema)
    for name in ("schema", "items_schema", "choices", "definitions"):
        if name in found:
            found[name] = held_by_columns(found[name])
    if found.get("type") == "model-fields":
        found["fields"] = {name: held_by_columns(field) for name, field in found["fields"].items()}
    return found


def unencodable(value: Any, path: str = "") -> str:
    """Where in a row a text is that has no UTF-8, as ``column.name: what``; "" when there is none."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return f"{path}: a text with {_no_unicode(value[error.start])}, got {value!a:.80}"
        return ""
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        within = (
            f"{path}.{name!a:.80}" if path and isinstance(name, str) else str(name) if not path else f"{path}.{name}"
        )
        found = (unencodable(name, path) if isinstance(name, str) and path else "") or unencodable(one, within)
        if found:
            return found
    return ""


def _no_unicode(character: str) -> str:
    # Python's "surrogateescape", by which a body of another character set is read.
    if "\udc80" <= character <= "\udcff":
        return f"the byte {ord(character) - 0xDC00:#04x}, which is no UTF-8 (see the charset of the scraper)"
    return "a lone surrogate, which STRING and JSON do not hold"


def _refuse(why: str) -> NoReturn:
    raise PydanticCustomError("column_value", "{why}", {"why": why})


def _limited_int(schema: Any) -> CoreSchema:
    low, high = max(schema.get("ge", INT64.start), INT64.start), min(schema.get("le", INT64[-1]), INT64[-1])
    limited: Any = {**schema, "ge": low, "le": high}
    slow = core_schema.no_info_before_validator_function(_as_integer, limited)
    return _quick_or("int", {**limited, "strict": True}, slow=slow)


def _quick_or(kind: Literal["int", "float", "date", "datetime"], *quick: Any, slow: CoreSchema) -> CoreSchema:
    """``quick`` ones, which take a part of what ``slow`` takes and read it alike, without a function of Python.

    They have most values: for a row of thirty numbers Python would take half as long again. All give a ``kind``.
    """
    written = core_schema.simple_ser_schema(kind)
    choices: list[Any] = [*((one, EXACT) for one in quick), (slow, READ)]
    return core_schema.union_schema(choices, mode="left_to_right", serialization=written)


def _of_text(pattern: str, schema: Any) -> CoreSchema:
    return core_schema.chain_schema([core_schema.str_schema(pattern=pattern, strict=True), schema])


def _as_integer(value: Any) -> Any:
    kind = type(value)
    if kind is int:
        return value
    if kind is float and math.isfinite(value) and abs(value) >= _FRACTIONS_END:
        _refuse("a float beyond 2^52 is no exact integer: it has lost what stood behind its point")
    if kind is str and _THOUSANDS.fullmatch(value):
        _refuse("a text whose point may part thousands: let the processor read it")
    return _as_number(value)


def _as_number(value: Any) -> Any:
    if isinstance(value, bool):
        _refuse("true and false are not numbers")
    if isinstance(value, str) and _OTHER_NUMBER.match(value):
        _refuse("a text whose number is written in another way (0 in front, _, other digits): as a number it changes")
    return value


def _limited_float(schema: Any) -> CoreSchema:
    # Strict floats take integers of any size. A share is often sent as 0 or 1.
    exact = core_schema.int_schema(strict=True, ge=EXACT_IN_JSON.start, le=EXACT_IN_JSON[-1])
    quick = [core_schema.chain_schema([one, schema]) for one in (core_schema.is_instance_schema(float), exact)]
    return _quick_or("float", *quick, slow=core_schema.no_info_before_validator_function(_as_float, schema))


def _as_float(value: Any) -> Any:
    kind = type(value)
    if kind is float:
        return value
    if kind is int and value not in EXACT_IN_JSON and not _is_exact(value):
        _refuse("an integer that FLOAT64 does not hold exactly")
    value = _as_number(value)
    if isinstance(value, str | Decimal) and not _is_kept(str(value)):
        _refuse(
            f"a {'Decimal' if kind is Decimal else 'text'} whose number FLOAT64 does not hold: "
            "as a float it is another integer, or zero"
        )
    return value


def _is_kept(text: str) -> bool:
    """Whether a float is the integer that the text is, and zero only where it says so; a fraction may be rounded."""
    try:
        number = float(text)
    except ValueError:
        return True
    if number == 0:
        return re.search(r"[1-9]", text.lower().partition("e")[0]) is None
    return not math.isfinite(number) or _WHOLE.fullmatch(text) is None or _is_exact(int(Decimal(text.strip())))


def _is_exact(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _limited_decimal(schema: Any) -> CoreSchema:
    fits = _fits_bignumeric if schema.get("metadata", {}).get(_IS_BIG) else _fits_numeric
    checked = core_schema.no_info_after_validator_function(fits, schema)
    return core_schema.no_info_before_validator_function(_as_decimal, checked)


def _as_decimal(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value) and _digits_of(Decimal(repr(value)))[0] > _FLOAT_DIGITS:
        _refuse("a float of more than 15 digits is not exact: let the processor read the number as Decimal or text")
    return _as_number(value)


def _fits_numeric(value: Decimal) -> Decimal:
    digits, exponent = _digits_of(value)
    if digits + exponent > _NUMERIC_DIGITS or -exponent > _NUMERIC_DECIMALS:
        _refuse("NUMERIC holds 29 digits before the point and 9 behind it")
    return value


def _fits_bignumeric(value: Decimal) -> Decimal:
    digits, exponent = _digits_of(value)
    is_small = 0 <= digits + exponent + _BIGNUMERIC_DECIMALS <= len(str(_BIGNUMERIC_END))
    if -exponent > _BIGNUMERIC_DECIMALS or (digits and not is_small) or _without_point(value) >= _BIGNUMERIC_END:
        _refuse("BIGNUMERIC holds 38 digits before the point and 38 behind it")
    return value


def _without_point(value: Decimal) -> int:
    _, digits, exponent = value.as_tuple()
    number, power = int("".join(map(str, digits))), int(exponent) + _BIGNUMERIC_DECIMALS
    return int(number * 10**power if power >= 0 else number // 10**-power)


def _digits_of(value: Decimal) -> tuple[int, int]:
    """How many digits a number has, and the power of ten of the last one; zeros at the end do not count."""
    _, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    return (len(text), int(exponent) + len(digits) - len(text)) if text else (0, 0)


def _limited_date(schema: Any) -> CoreSchema:
    slow = core_schema.no_info_before_validator_function(_as_date, schema)
    return _quick_or("date", _of_text(_PLAIN_DATE, schema), slow=slow)


def _as_date(value: Any) -> Any:
    if isinstance(value, int | float) or _is_number(value):
        _refuse("a number is no date: let the processor write it as 2025-01-03")
    return _to_the_microsecond(value)


def _limited_instant(schema: Any) -> CoreSchema:
    checked = core_schema.no_info_after_validator_function(_within_range, schema)
    slow = core_schema.no_info_before_validator_function(_as_instant, checked)
    return _quick_or("datetime", _of_text(_PLAIN_INSTANT, schema), slow=slow)


def _as_instant(value: Any) -> Any:
    if isinstance(value, bool) or _is_number(value):
        _refuse("true, false and a text of digits are no instant: let the processor read it")
    if isinstance(value, int | float) and not -_MILLISECONDS_FROM <= value <= _MILLISECONDS_FROM:
        _refuse(
            "a number so large may be milliseconds, and a smaller one of them be taken for seconds: "
            "let the processor read it"
        )
    if isinstance(value, float) and math.isfinite(value) and -_digits_of(Decimal(repr(value)))[1] > _MICROSECOND_DIGITS:
        _refuse(_TOO_FINE)
    return _to_the_microsecond(value)


def _within_range(value: dt.datetime) -> dt.datetime:
    try:
        value.astimezone(dt.UTC)
    except OverflowError:
        _refuse("TIMESTAMP holds the years 1 to 9999 in UTC")
    return value


def _limited_time(schema: Any) -> CoreSchema:
    # An offset would be cut off: TIME has none.
    return core_schema.no_info_before_validator_function(_as_time, {**schema, "tz_constraint": "naive"})


def _as_time(value: Any) -> Any:
    if isinstance(value, int | float) or _is_number(value):
        _refuse("a number is no time of day: let the processor write it as 19:30:00")
    return _to_the_microsecond(value)


def _to_the_microsecond(value: Any) -> Any:
    if isinstance(value, str) and _BELOW_MICROSECONDS.search(value):
        _refuse(_TOO_FINE)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and _NUMBER.fullmatch(value) is not None


def _limited_json(schema: Any) -> CoreSchema:
    return core_schema.no_info_after_validator_function(_held_by_json, schema)


def _held_by_json(value: Any) -> Any:
    _refuse_in_json(value, "")
    return value


def _refuse_in_json(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for name, one in value.items():
            if isinstance(name, str) and unencodable(name):
                _refuse(f"JSON has no lone surrogates, and a name in it is {name!a:.80}")
            _refuse_in_json(one, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            _refuse_in_json(one, f"{path}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        _refuse(f"JSON has no NaN and no Infinity, and {path!a:.80} is {value}")
    elif isinstance(value, int) and not INT64.start <= value < _UINT64_END:
        _refuse(f"JSON holds integers from -2^63 to 2^64-1, and {path!a:.80} is beyond")
    elif isinstance(value, TinyNumber):
        _refuse(f"JSON would hold a text in place of a number so small, and {path!a:.80} is {value}")
    elif value is not None and not isinstance(value, str | int | float):
        # As a text it would be, a number included.
        _refuse(f"JSON has no {type(value).__name__}, and {path!a:.80} is one: let the processor write it")


_LIMITED: dict[str, Callable[[Any], Any]] = {
    "int": _limited_int,
    "float": _limited_float,
    "decimal": _limited_decimal,
    "date": _limited_date,
    "datetime": _limited_instant,
    "time": _limited_time,
    "dict": _limited_json,
}
