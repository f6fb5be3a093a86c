"""Ranges whose ends are formulas, such as `sqrt(width)`, read without `eval`.

Grammar of a formula, with the precedence of Python (`-2**2` is -4, `2**3**2` is 512):

    sum     = product (("+" | "-") product)*
    product = factor (("*" | "/") factor)*
    factor  = "-" factor | atom ["**" factor]
    atom    = NUMBER | NAME | ["sqrt"] "(" sum ")"
"""

import dataclasses
import functools
import math
import re
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from operator import add, mul, sub, truediv
from typing import Any

from mfsim.component import Component, build, describe, is_abstract, kinds
from mfsim.errors import ConfigError
from mfsim.experiment import Experiment

RANGE_KEYS = ("from", "to", "num", "scale")
_SCALES = ("linear", "log")

_TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>\*\*|[-+*/()])|(?P<space>\s+)|(?P<other>.)",
    re.ASCII | re.DOTALL,
)
_LONGEST, _DEEPEST = 200, 20
_END = ("end", "")

_Value = Callable[[Mapping[str, float]], float]


class Formula:
    """A formula that is read once and valued at any numbers.

    Attributes:
        text: The formula as written.
        names: The names that it uses.

    Raises:
        ValueError: If the text is not of the grammar, longer than 200 characters or
            nested deeper than 20; the message begins with "must".
    """

    def __init__(self, text: str):
        self.text = text
        self.names: set[str] = set()
        if len(text) > _LONGEST:
            raise ValueError(f"must be at most {_LONGEST} characters, got {len(text)}.")
        found = [(str(m.lastgroup), m[0]) for m in _TOKEN.finditer(text)]
        self._tokens = [token for token in found if token[0] != "space"] + [_END]
        self._depth = 0
        self._value = self._sum()
        if self._tokens[0] != _END:
            raise self._unexpected()

    def __call__(self, numbers: Mapping[str, float]) -> float:
        """The value at these numbers.

        Raises:
            ValueError: If a name is unknown, or if the value or a part of it is not a
                finite real number; the message begins with "must".
        """
        if unknown := sorted(self.names - set(numbers)):
            raise ValueError(
                f"must use names among {sorted(numbers)}, "
                f"got {unknown[0]!r} in {self.text!r}."
            )
        try:
            return self._value(numbers)
        except ArithmeticError as error:
            reason = "too large" if isinstance(error, OverflowError) else error
            given = {name: numbers[name] for name in sorted(self.names)}
            raise ValueError(
                f"must be finite and real, got {self.text!r} at {given}: {reason}."
            ) from None

    def _sum(self) -> _Value:
        return self._chain("+-", self._product)

    def _product(self) -> _Value:
        return self._chain("*/", self._factor)

    def _chain(self, signs: str, part: Callable[[], _Value]) -> _Value:
        left = part()
        while sign := self._take(*signs):
            left = _apply(_OPERATIONS[sign], left, part())
        return left

    def _factor(self) -> _Value:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"must nest at most {_DEEPEST} deep, got {self.text!r}.")
        if self._take("-"):
            value = _apply(lambda x: -x, self._factor())
        else:
            value = self._atom()
            if self._take("**"):
                value = _apply(pow, value, self._factor())
        self._depth -= 1
        return value

    def _atom(self) -> _Value:
        group, text = self._tokens[0]
        if group == "number":
            self._tokens.pop(0)
            return _apply(lambda: float(text))
        if group == "name" and text != "sqrt":
            self._tokens.pop(0)
            self.names.add(text)
            return lambda numbers: float(numbers[text])
        function = self._take("sqrt")
        self._need("(")
        inner = self._sum()
        self._need(")")
        return _apply(_sqrt, inner) if function else inner

    def _take(self, *texts: str) -> str:
        return self._tokens.pop(0)[1] if self._tokens[0][1] in texts else ""

    def _need(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected()

    def _unexpected(self) -> ValueError:
        token = self._tokens[0]
        where = "its end" if token == _END else repr(token[1])
        return ValueError(
            "must be a formula of numbers, names, + - * / **, ( ) and sqrt( ), "
            f"got {self.text!r}, which cannot be read at {where}."
        )


def _apply(operation: Callable[..., float], *parts: _Value) -> _Value:
    def value(numbers: Mapping[str, float]) -> float:
        result = operation(*(part(numbers) for part in parts))
        # A negative number to a fractional power is complex, a large product infinite.
        if isinstance(result, complex):
            raise ArithmeticError("fractional power of a negative number")
        if not math.isfinite(result):
            raise OverflowError
        return result

    return value


def _sqrt(value: float) -> float:
    if value < 0:
        raise ArithmeticError("square root of a negative number")
    return math.sqrt(value)


_OPERATIONS = {"+": add, "-": sub, "*": mul, "/": truediv}


@dataclass(frozen=True)
class Range:
    """Evenly spaced numbers between two ends, as {from, to, num, scale} says.

    Both ends are taken exactly; `num = 1` takes `from` alone. Numbers in between are
    exact on a linear scale and rounded to 14 digits on a log scale, so that 0.01 is.
    """

    label: str
    ends: tuple[Formula, Formula]
    size: int
    scale: str

    @property
    def names(self) -> set[str]:
        """The names that its ends use."""
        return self.ends[0].names | self.ends[1].names

    def value(self, place: int, table: Mapping[str, Any], path: str) -> float:
        """The number at a place, with the names taken from the table around `path`."""
        numbers = own_numbers(table, path) if self.names else {}
        start, end = (self._end(which, numbers) for which in (0, 1))
        return _spaced(start, end, place, self.size, self.scale)

    def _end(self, which: int, numbers: Mapping[str, float]) -> float:
        try:
            end = self.ends[which](numbers)
            if self.scale == "log" and end <= 0:
                raise ValueError(f"must be positive on a log scale, got {end}.")
        except ValueError as error:
            raise ConfigError(f"{self.label}.{RANGE_KEYS[which]} {error}") from error
        return end


def read_range(label: str, table: Mapping[str, Any]) -> Range:
    """The range of a table {from, to, num, scale}.

    Raises:
        ConfigError: If a key is missing, unknown or of a wrong value.
    """
    for key in [key for key in table if key not in RANGE_KEYS]:
        raise ConfigError(
            f"{label}.{key} must be one of {list(RANGE_KEYS)}; put the dotted path "
            'of an axis in quotes, as "flow.network.alpha".'
        )
    if missing := [key for key in RANGE_KEYS[:3] if key not in table]:
        raise ConfigError(f"{label}.{missing[0]} is required.")
    num, scale = table["num"], table.get("scale", "linear")
    if isinstance(num, bool) or not isinstance(num, int) or num < 1:
        raise ConfigError(f"{label}.num must be a whole number from 1, got {num!r}.")
    if scale not in _SCALES:
        raise ConfigError(
            f"{label}.scale must be one of {list(_SCALES)}, got {scale!r}."
        )
    start, end = (_read_end(f"{label}.{k}", table[k]) for k in RANGE_KEYS[:2])
    return Range(label, (start, end), num, scale)


def _read_end(label: str, value: Any) -> Formula:
    text = repr(float(value)) if _is_number(value) else value
    try:
        if not isinstance(text, str):
            raise ValueError(f"must be a finite number or a formula, got {value!r}.")
        return Formula(text)
    except ValueError as error:
        raise ConfigError(f"{label} {error}") from error


def _is_number(value: Any) -> bool:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and abs(value) <= sys.float_info.max


def _spaced(start: float, end: float, place: int, size: int, scale: str) -> float:
    if place == 0:
        return start
    if place == size - 1:
        return end
    part = Fraction(place, size - 1)
    if scale == "linear":
        # In decimal fractions: between -0.1 and 0.2 there is 0, not 1e-17.
        first, last = Fraction(repr(start)), Fraction(repr(end))
        return float(first + (last - first) * part)
    return float(f"{start ** float(1 - part) * end ** float(part):.14g}")


def own_numbers(table: Mapping[str, Any], path: str) -> dict[str, float]:
    """The numbers, defaults included, that stand beside `path` in its own table."""
    cls, own = _own_table(table, path)
    name = path.rpartition(".")[2]
    full = _defaults(cls) | dict(own)
    return {k: float(v) for k, v in full.items() if k != name and _is_number(v)}


def takes_int(table: Mapping[str, Any], path: str) -> bool:
    """Whether the field at `path` takes whole numbers only."""
    hint = _hints(_own_table(table, path)[0]).get(path.rpartition(".")[2])
    arms = typing.get_args(hint) or (hint,)
    return int in arms and float not in arms


def _own_table(table: Mapping[str, Any], path: str) -> tuple[type, Mapping[str, Any]]:
    """The class that the table around `path` builds, and that table."""
    cls, own = Experiment, table
    for key in path.split(".")[:-1]:
        value = own.get(key, _defaults(cls).get(key))
        if isinstance(value, Component):
            value = describe(value)
        own = {"kind": value} if isinstance(value, str) else value
        inner = _class(_hints(cls).get(key), own)
        if inner is None or not isinstance(own, Mapping):
            build(Experiment, table)  # It knows best what is wrong on the way there.
            legal = [field.name for field in dataclasses.fields(cls)]
            raise ConfigError(f"{path} must lead through tables of {legal}, got {key}.")
        cls = inner
    return cls, own


def _class(hint: Any, table: Any) -> type | None:
    kind = table.get("kind") if isinstance(table, Mapping) else None
    for arm in typing.get_args(hint) or (hint,):
        if isinstance(arm, type) and issubclass(arm, Component):
            return kinds(arm).get(str(kind)) if is_abstract(arm) else arm
    return None


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _defaults(cls: Any) -> dict[str, Any]:
    fields = dataclasses.fields(cls)
    return {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
