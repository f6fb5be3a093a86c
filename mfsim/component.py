"""Component: a frozen equinox module that is its own configuration.

A family is a class called `Abstract…`; its kinds are its final subclasses, found by
name when asked, so that nothing is registered by hand. `build` turns a plain dictionary
into a component and `describe` turns it back: `build(family, describe(c)) == c`.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import cattrs
import equinox as eqx
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from mfsim.errors import ConfigError

_T = TypeVar("_T")
_REQUIRED = dataclasses.MISSING


def static(default: Any = _REQUIRED) -> Any:
    """A field that shapes the program: a flag, a choice, a name."""
    return eqx.field(static=True, default=default)


def count(
    default: Any = _REQUIRED, *, at_least: int = 1, at_most: int = 2**31 - 1
) -> Any:
    """A static whole number, such as a width; an index of 32 bits unless said."""
    bounds = {"at_least": at_least, "at_most": at_most}
    return eqx.field(static=True, default=default, metadata=bounds)


def real(
    default: Any = _REQUIRED,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Any:
    """A real that enters formulas: exact as written, an array only once stacked."""
    bounds = {"above": above, "at_least": at_least, "at_most": at_most}
    return eqx.field(converter=_to_float, default=default, metadata=bounds)


def _to_float(value: Any) -> Any:
    """A whole number written in Python as the real that it stands for."""
    return float(value) if type(value) is int else value


class Component(eqx.Module):
    """Frozen module whose fields are its configuration.

    Raises:
        ValueError: If a number is not finite or lies outside its field's bounds, or a
            choice is not legal.
    """

    def __check_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            _check_number(field.name, value, field.metadata)
            if typing.get_origin(field.type) is Literal:
                _check_choice(field.name, value, typing.get_args(field.type))


def _check_choice(name: str, value: Any, legal: tuple) -> None:
    if value not in legal:
        raise ValueError(f"{name} must be one of {list(legal)}, got {value!r}.")


def _check_number(name: str, value: Any, bounds: Mapping[str, Any]) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    above, least, most = (bounds.get(k) for k in ("above", "at_least", "at_most"))
    if above is not None and not value > above:
        raise ValueError(f"{name} must be above {above}, got {value}.")
    if least is not None and not value >= least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")
    if most is not None and not value <= most:
        raise ValueError(f"{name} must be at most {most}, got {value}.")


def is_abstract(cls: type) -> bool:
    """Whether `cls` is a family rather than a kind; the name says so."""
    return cls.__name__.startswith("Abstract")


def kinds(family: type[_T]) -> dict[str, type[_T]]:
    """The final subclasses of a family by name; of two of one name, the later."""
    found: dict[str, type[_T]] = {}
    for cls in family.__subclasses__():
        if is_abstract(cls):
            found |= kinds(cls)
        else:
            found[cls.__name__] = cls
    return dict(sorted(found.items()))


def families() -> dict[str, type[Component]]:
    """Every family of which at least one kind is loaded, by its lower-case name."""
    roots = [c for c in Component.__subclasses__() if is_abstract(c) and kinds(c)]
    return {c.__name__.removeprefix("Abstract").lower(): c for c in roots}


def build(cls: type[_T], config: Any, path: str = "") -> _T:
    """Make a component from a plain dictionary, or from the name of a kind.

    Args:
        cls: A family, whose kind the dictionary's `kind` names, or a final class.
        config: The dictionary; a string stands for `{"kind": string}`.
        path: Dotted path of `config`, put before every message.

    Raises:
        ConfigError: If a key, type, value or kind is wrong; names its dotted path.
    """
    try:
        return _converter.structure(config, cls)
    except Exception as error:
        raise ConfigError(_explain(error, path)) from error


def describe(component: Component) -> dict[str, Any]:
    """The dictionary that builds `component` again; with defaults, without `None`."""
    return _converter.unstructure(component)


def _is_component(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, Component)


def _is_family(cls: Any) -> bool:
    return _is_component(cls) and is_abstract(cls)


def _is_final(cls: Any) -> bool:
    return _is_component(cls) and not is_abstract(cls)


def _is_union(cls: Any) -> bool:
    return typing.get_origin(cls) in (Union, types.UnionType)


def _structure_family(config: Any, family: type) -> Any:
    table = {"kind": config} if isinstance(config, str) else config
    if not isinstance(table, Mapping):
        raise TypeError(
            f"must be a table with a kind, or a kind's name, got {config!r}."
        )
    legal = kinds(family)
    if "kind" not in table:
        raise ValueError(f"needs a kind, one of {list(legal)}.")
    return _converter.structure(table, legal[_legal_kind(table, legal)])


def _structure_final(cls: type) -> Any:
    structure = make_dict_structure_fn(cls, _converter, _cattrs_forbid_extra_keys=True)

    def hook(config: Any, _: type) -> Any:
        if isinstance(config, str) and _has_kind(cls):
            config = {"kind": config}
        if not isinstance(config, Mapping):
            raise TypeError(f"must be a table, got {config!r}.")
        if _has_kind(cls) and "kind" in config:
            _legal_kind(config, {cls.__name__: cls})
            config = {key: value for key, value in config.items() if key != "kind"}
        return structure(config, cls)

    return hook


def _legal_kind(table: Mapping[str, Any], legal: Mapping[str, type]) -> str:
    if table["kind"] not in list(legal):
        raise ValueError(f"kind must be one of {list(legal)}, got {table['kind']!r}.")
    return table["kind"]


def _has_kind(cls: type) -> bool:
    """Whether a final class belongs to a family, so that its kind is worth saying."""
    return any(is_abstract(base) for base in cls.__mro__[1:])


def _structure_union(config: Any, union: Any) -> Any:
    arms = [arm for arm in typing.get_args(union) if arm is not type(None)]
    if len(arms) == 1:
        return _converter.structure(config, arms[0])
    failures = []
    for arm in arms:
        try:
            return _converter.structure(config, arm)
        except (TypeError, ValueError) as failure:
            failures.append(str(failure).split(", got")[0].removeprefix("must be "))
    raise ValueError(f"must be {' or '.join(failures)}, got {config!r}.")


def _structure_int(value: Any, _: type) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"must be a whole number, got {value!r}.")
    return value


def _structure_float(value: Any, _: type) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"must be a number, got {value!r}.")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("must be a number below 1.8e308.") from None


def _structure_bool(value: Any, _: type) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"must be true or false, got {value!r}.")
    return value


def _structure_str(value: Any, cls: type) -> Any:
    if not isinstance(value, (str, cls)):
        raise TypeError(f"must be a string, got {value!r}.")
    return cls(value)


def _structure_literal(value: Any, literal: Any) -> Any:
    legal = typing.get_args(literal)
    if not any(type(value) is type(option) and value == option for option in legal):
        wanted = repr(legal[0]) if len(legal) == 1 else f"one of {list(legal)}"
        raise ValueError(f"must be {wanted}, got {value!r}.")
    return value


def _structure_tuple(value: Any, cls: Any) -> tuple:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"must be a list, got {value!r}.")
    arms = typing.get_args(cls)
    if arms[-1] is not Ellipsis and len(value) != len(arms):
        raise ValueError(f"must be a list of {len(arms)}, got {value!r}.")
    types_ = arms[:1] * len(value) if arms[-1] is Ellipsis else arms
    return tuple(
        _within(i, lambda v=v, t=t: _converter.structure(v, t))
        for i, (v, t) in enumerate(zip(value, types_, strict=True))
    )


def _within(index: int, structure: Callable[[], Any]) -> Any:
    try:
        return structure()
    except Exception as error:
        note = IterableValidationNote(f"at index {index}", index, None)
        error.__notes__ = [*getattr(error, "__notes__", []), note]
        raise


def _unstructure_component(component: Component) -> dict[str, Any]:
    cls = type(component)
    table = {"kind": cls.__name__} if _has_kind(cls) else {}
    for field in dataclasses.fields(component):
        value = getattr(component, field.name)
        if value is not None:
            table[field.name] = _converter.unstructure(value)
    return table


_converter = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(int, _structure_int)
_converter.register_structure_hook(float, _structure_float)
_converter.register_structure_hook(bool, _structure_bool)
_converter.register_structure_hook(str, _structure_str)
_converter.register_structure_hook(Path, _structure_str)
_converter.register_structure_hook_func(
    lambda t: typing.get_origin(t) is tuple, _structure_tuple
)
_converter.register_structure_hook_func(
    lambda t: typing.get_origin(t) is Literal, _structure_literal
)
_converter.register_structure_hook_func(_is_union, _structure_union)
_converter.register_structure_hook_func(_is_family, _structure_family)
_converter.register_structure_hook_factory(_is_final, _structure_final)
_converter.register_unstructure_hook_func(_is_component, _unstructure_component)
_converter.register_unstructure_hook_func(
    lambda t: typing.get_origin(t) is tuple or t is tuple,
    lambda items: [_converter.unstructure(item) for item in items],
)
_converter.register_unstructure_hook(Path, str)
_converter.register_unstructure_hook_func(
    _is_union, lambda v: _converter.unstructure(v)
)


def _explain(error: BaseException, path: str) -> str:
    """The first leaf of an exception tree as one line with its dotted path."""
    path = _extend(path, error)
    if isinstance(error, cattrs.BaseValidationError):
        typos = (cattrs.ForbiddenExtraKeysError,)
        leaves = sorted(error.exceptions, key=lambda e: not isinstance(e, typos))
        return _explain(leaves[0], path)
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        legal = [field.name for field in dataclasses.fields(error.cl)]
        wrong = sorted(error.extra_fields)[0]
        where = _join(path, wrong)
        where = " ".join(where.split())
        return f"{where} is not a field of {error.cl.__name__}, which has {legal}."
    if isinstance(error, KeyError):
        return f"{_join(path, error.args[0])} is required."
    text = " ".join(str(error).split())
    begins_with_name = not text.startswith(("must ", "needs "))
    return _join(path, text) if begins_with_name else f"{path or 'config'} {text}"


def _extend(path: str, error: BaseException) -> str:
    for note in reversed(getattr(error, "__notes__", [])):
        if isinstance(note, AttributeValidationNote):
            if not isinstance(error, KeyError):
                path = _join(path, note.name)
        elif isinstance(note, IterableValidationNote):
            path = f"{path}[{note.index}]"
    return path


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
