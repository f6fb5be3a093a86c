"""Configs: every component survives its dictionary, every formula is arithmetic."""

import dataclasses
import math
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union

import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from mfsim.component import Component, build, describe, is_abstract, kinds
from mfsim.config import load, load_table
from mfsim.errors import ConfigError
from mfsim.experiment import Experiment
from mfsim.formula import Formula
from mfsim.integrators import AbstractIntegrator
from mfsim.losses import AbstractLoss

PATHS = st.sampled_from([Path("/a/x.npz"), Path("/b.csv")])


def final_classes(family=Component):
    """Every final class of the package, families' kinds and plain parts alike."""
    found = []
    for cls in family.__subclasses__():
        found += final_classes(cls) if is_abstract(cls) else [cls]
    return [cls for cls in found if cls.__module__.startswith("mfsim.")]


def arguments(hint: Any, bounds: dict[str, Any]) -> st.SearchStrategy:
    """Values of a field's type, within the bounds that its metadata states."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of([arguments(arm, bounds) for arm in args])
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(arguments(args[0], bounds), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(arguments(arm, bounds) for arm in args))
    if isinstance(hint, type) and issubclass(hint, Component):
        choices = list(kinds(hint).values()) if is_abstract(hint) else [hint]
        own = [cls for cls in choices if cls.__module__.startswith("mfsim.")]
        return st.deferred(lambda: st.one_of([components(cls) for cls in own]))
    least = bounds.get("at_least")
    lowest = 0 if least is None else least
    if hint is float:
        above = bounds.get("above")
        low = least if above is None else above
        return st.floats(
            low, bounds.get("at_most") or 1e9, exclude_min=above is not None
        )
    plain = {
        int: st.integers(lowest, lowest + 40),
        bool: st.booleans(),
        str: st.just("train_risk < 1e-6"),
        type(None): st.none(),
        Path: PATHS,
    }
    return plain[hint]


def integrators_of(flow):
    """Those that take a flow, as most draws of the two would not go together."""
    own = [k for k in final_classes(AbstractIntegrator) if isinstance(flow, k.flows)]
    return st.one_of([components(kind) for kind in own])


def losses_of(network):
    """Those of one output, or of as many as there are classes."""
    of_classes = network.num_outputs > 1
    own = [k for k in final_classes(AbstractLoss) if k.of_classes == of_classes]
    return st.one_of([components(kind) for kind in own])


@st.composite
def components(draw, cls):
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):
        value = arguments(hints[field.name], dict(field.metadata))
        if field.name == "integrator":
            value = integrators_of(values["flow"])
        if field.name == "loss":
            value = losses_of(values["network"])
        if field.default is dataclasses.MISSING:
            # A description leaves `None` out, so only a default can stand for it.
            value = value.filter(lambda v: v is not None)
        values[field.name] = draw(value)
    try:
        return cls(**values)
    except (ValueError, ConfigError):
        # A condition between fields, such as an even width.
        return reject()


# An even width, one end of a schedule, noise on a grid: an experiment meets all
# of these conditions in one draw of ten.
many_conditions = settings(suppress_health_check=[HealthCheck.filter_too_much])


@pytest.mark.parametrize("cls", final_classes(), ids=lambda cls: cls.__name__)
@many_conditions
@given(data=st.data())
def test_a_component_is_built_again_from_its_description(cls, data):
    component = data.draw(components(cls))
    again = build(cls, describe(component))
    assert again == component
    assert describe(again) == describe(component)
    assert type(again) is cls


@many_conditions
@given(experiment=components(Experiment))
def test_an_experiment_is_loaded_again_from_its_toml(tmp_path_factory, experiment):
    path = tmp_path_factory.mktemp("toml") / "x.toml"
    path.write_text(experiment.to_toml(), encoding="utf-8")
    assert load(path) == experiment


# Formulas against Python's own arithmetic, whose precedence the grammar takes over.

LEAVES = st.one_of(
    st.integers(0, 99).map(str),
    st.floats(0, 1e9).map(repr),
    st.sampled_from(["m", "alpha_2"]),
)


def compound(parts):
    signs = st.sampled_from(["+", "-", "*", "/", "**", " + ", " * "])
    return st.one_of(
        st.tuples(parts, signs, parts).map("".join),
        parts.map("({})".format),
        parts.map("-{}".format),
        parts.map("sqrt({})".format),
    )


def in_python(text: str, numbers: dict[str, float]) -> float | None:
    """The value of an expression of floats; `None` if it is not finite and real."""
    # Python's whole numbers have no bound: 9**99**99 would not come to an end.
    floats = {f"F{i}": float(i) for i in range(100)}
    tokens = re.findall(r"[A-Za-z_]\w*|[\d.]+(?:e[+-]?\d+)?|\*\*|.", text)
    text = "".join(f"F{token}" if token.isdigit() else token for token in tokens)
    try:
        value = eval(text, {"sqrt": math.sqrt, "__builtins__": {}}, numbers | floats)
    except (ArithmeticError, ValueError, TypeError):
        return None
    return value if isinstance(value, float) and math.isfinite(value) else None


def outcome(text: str, numbers: dict[str, float]) -> tuple[float | None, str]:
    """The value of a formula, or `None` and the reason why it has none."""
    try:
        return Formula(text)(numbers), ""
    except ValueError as error:
        return None, str(error)


@settings(max_examples=300)
@given(text=st.recursive(LEAVES, compound, max_leaves=8))
def test_formulas_are_python_arithmetic(text):
    numbers = {"m": 64.0, "alpha_2": 0.3}
    value, reason = outcome(text, numbers)
    assume(not reason.startswith(("must nest", "must be at most")))
    # Python lets an infinite part pass where the whole is finite again.
    assume(not reason.endswith(": too large."))
    assert value == in_python(text, numbers)


@settings(max_examples=300)
@given(text=st.text(st.sampled_from("0123456789.e+-*/() msqrt_^,\n'"), max_size=30))
def test_any_text_is_a_finite_number_or_refused_in_one_line(text):
    value, reason = outcome(text, {"m": 3.0})
    assert (value is None) == reason.startswith("must ")
    assert value is None or math.isfinite(value)
    assert "\n" not in reason


# Ranges

ENDS = st.floats(1e-12, 1e12)


def alphas(start, end, num, scale):
    swept = {"from": start, "to": end, "num": num, "scale": scale}
    table = {
        "flow": {
            "kind": "ParticleFlow",
            "network": {"kind": "TwoLayer", "width": 2},
            "dataset": {"kind": "Parity", "dim": 2, "num_train": 2},
        },
        "integrator": {"kind": "NoisyGD", "step": 0.1},
        "schedule": {"num_steps": 1},
        "sweep": {"flow.network.alpha": swept},
    }
    sweep = load_table(table, Path("/"))
    return [point.experiment.flow.network.alpha for point in sweep.points]


@given(
    start=ENDS,
    factor=st.floats(1.001, 1e6),
    num=st.integers(2, 20),
    scale=st.sampled_from(["linear", "log"]),
)
def test_ranges_rise_evenly_between_exact_ends(start, factor, num, scale):
    end = start * factor
    values = alphas(start, end, num, scale)
    assert (values[0], values[-1], len(values)) == (start, end, num)
    assert values == sorted(set(values))
    places = [math.log(v) if scale == "log" else v for v in values]
    gaps = [b - a for a, b in zip(places, places[1:], strict=False)]
    # Rounding to 14 digits moves a logarithm by at most 5e-14, and a gap by twice that.
    assert gaps == pytest.approx([sum(gaps) / len(gaps)] * len(gaps), 1e-9, 2e-13)
