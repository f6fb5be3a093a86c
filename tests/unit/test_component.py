"""Components: build and describe, and one message for each way to be wrong."""

import math
from pathlib import Path
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfsim.component import (
    Component,
    build,
    count,
    describe,
    families,
    is_abstract,
    kinds,
    real,
    static,
)
from mfsim.errors import ConfigError


class AbstractShape(Component):
    """A family of the tests."""


class Disc(AbstractShape):
    """A kind with bounded reals."""

    radius: float = real(1.0, above=0.0)
    share: float = real(0.5, at_least=0.0, at_most=1.0)


class Mesh(AbstractShape):
    """A kind with every type of field."""

    cells: int = count()
    step: float | Literal["auto"] = real("auto", above=0.0)
    order: Literal["first", "second"] = static("first")
    level: Literal[1, 2] = static(1)
    closed: bool = static(False)
    file: Path | None = static(None)
    name: str = static("mesh")
    limit: int | None = count(None)
    pair: tuple[int, float] = static((1, 2.0))


class AbstractRound(AbstractShape):
    """A family within the family."""


class Ball(AbstractRound):
    """A kind of the inner family."""


class Scene(Component):
    """A final component that holds others and belongs to no family."""

    shape: AbstractShape = Disc()
    shapes: tuple[AbstractShape, ...] = ()
    weights: tuple[float, ...] = ()
    disc: Disc = Disc()


class Even(Component):
    """A component with an invariant of its own."""

    number: int = count(2, at_least=0)

    def __check_init__(self):
        if self.number % 2:
            raise ValueError(f"number must be even, got {self.number}.")


class AbstractEmpty(Component):
    """A family without kinds."""


KINDS = "['Ball', 'Disc', 'Mesh']"


# What is right


def test_build_fills_in_defaults():
    mesh = build(AbstractShape, {"kind": "Mesh", "cells": 3})
    assert mesh == Mesh(cells=3)
    assert mesh.step == "auto"
    assert mesh.file is None


def test_the_name_of_a_kind_stands_for_its_table():
    assert build(AbstractShape, "Disc") == Disc()
    scene = build(Scene, {"shape": "Ball", "shapes": ["Disc", {"kind": "Disc"}]})
    assert scene == Scene(shape=Ball(), shapes=(Disc(), Disc()))


def test_a_field_of_one_kind_takes_its_name_or_leaves_it_out():
    for disc in ("Disc", {"kind": "Disc"}, {}):
        assert build(Scene, {"disc": disc}) == Scene()


def test_whole_numbers_are_taken_for_reals_and_made_reals():
    disc = build(AbstractShape, {"kind": "Disc", "radius": 2})
    assert isinstance(disc.radius, float)
    assert disc.radius == 2


def test_values_of_every_type():
    table = {
        "kind": "Mesh",
        "cells": 2,
        "step": 0.25,
        "order": "second",
        "level": 2,
        "closed": True,
        "file": "a/b.csv",
        "name": "other",
        "limit": 4,
        "pair": [3, 0.5],
    }
    mesh = build(AbstractShape, table)
    assert mesh.file == Path("a/b.csv")
    assert mesh.pair == (3, 0.5)
    assert describe(mesh) == table


@given(
    radius=st.floats(1e-300, 1e300),
    cells=st.integers(1, 10**9),
    step=st.one_of(st.just("auto"), st.floats(1e-12, 1e12)),
    limit=st.none() | st.integers(1, 9),
    weights=st.lists(st.floats(-1e9, 1e9), max_size=3),
)
def test_build_undoes_describe(radius, cells, step, limit, weights):
    scene = Scene(
        shape=Mesh(cells=cells, step=step, limit=limit, file=Path("x")),
        shapes=(Disc(radius), Ball()),
        weights=tuple(weights),
    )
    assert build(Scene, describe(scene)) == scene


def test_describe_is_plain_and_leaves_none_out():
    table = describe(Scene(shape=Mesh(cells=1)))
    assert table == {
        "shape": {
            "kind": "Mesh",
            "cells": 1,
            "step": "auto",
            "order": "first",
            "level": 1,
            "closed": False,
            "name": "mesh",
            "pair": [1, 2.0],
        },
        "shapes": [],
        "weights": [],
        "disc": {"kind": "Disc", "radius": 1.0, "share": 0.5},
    }


def test_static_fields_shape_the_program_and_reals_are_leaves():
    mesh = Mesh(cells=3, step=0.5)
    assert jax.tree.leaves(mesh) == [0.5]
    assert jax.tree.structure(mesh) != jax.tree.structure(Mesh(cells=4, step=0.5))
    traced = jax.jit(lambda mesh: mesh.step * mesh.cells)
    assert float(traced(mesh)) == 1.5


def test_components_are_frozen():
    with pytest.raises(AttributeError):
        Disc().radius = 2.0


def test_arrays_in_place_of_reals_pass_unchecked():
    stacked = jax.tree.map(lambda *reals: jnp.asarray(reals), Disc(1.0), Disc(2.0))
    assert stacked.radius.shape == (2,)
    assert eqx.tree_at(lambda d: d.radius, Disc(), jnp.ones(3)).radius.shape == (3,)


# Kinds and families


def test_kinds_are_final_by_name_and_families_are_not():
    assert list(kinds(AbstractShape)) == ["Ball", "Disc", "Mesh"]
    assert kinds(AbstractRound) == {"Ball": Ball}
    assert is_abstract(AbstractRound)
    assert not is_abstract(Ball)


def test_families_are_roots_with_kinds():
    assert families()["shape"] is AbstractShape
    assert not {"round", "empty"} & set(families())


def test_a_kind_defined_again_replaces_the_first():
    class AbstractTool(Component):
        pass

    def define(default):
        class Tool(AbstractTool):
            size: float = real(default)

        return Tool

    first, second = define(1.0), define(2.0)
    assert first is not second
    assert build(AbstractTool, "Tool") == second(2.0)
    assert kinds(AbstractTool) == {"Tool": second}


# What is wrong: one line, the dotted path, what must hold, what was given

MESH = {"kind": "Mesh", "cells": 3}
WRONG = [
    ("Disk", f"shape.kind must be one of {KINDS}, got 'Disk'."),
    ({"kind": "disc"}, f"shape.kind must be one of {KINDS}, got 'disc'."),
    ({"kind": 3}, f"shape.kind must be one of {KINDS}, got 3."),
    ({"radius": 1.0}, f"shape needs a kind, one of {KINDS}."),
    (3, "shape must be a table with a kind, or a kind's name, got 3."),
    (None, "shape must be a table with a kind, or a kind's name, got None."),
    ({"kind": "Mesh"}, "shape.cells is required."),
    (
        {"kind": "Disc", "radios": 1.0},
        "shape.radios is not a field of Disc, which has ['radius', 'share'].",
    ),
    ({"kind": "Disc", "radius": 0}, "shape.radius must be above 0.0, got 0.0."),
    ({"kind": "Disc", "share": -0.5}, "shape.share must be at least 0.0, got -0.5."),
    ({"kind": "Disc", "share": 1.5}, "shape.share must be at most 1.0, got 1.5."),
    ({"kind": "Disc", "radius": math.nan}, "shape.radius must be finite, got nan."),
    ({"kind": "Disc", "radius": math.inf}, "shape.radius must be finite, got inf."),
    ({"kind": "Disc", "radius": "1"}, "shape.radius must be a number, got '1'."),
    ({"kind": "Disc", "radius": True}, "shape.radius must be a number, got True."),
    ({"kind": "Disc", "radius": [1.0]}, "shape.radius must be a number, got [1.0]."),
    ({"kind": "Mesh", "cells": 0}, "shape.cells must be at least 1, got 0."),
    (
        {"kind": "Mesh", "cells": 1.0},
        "shape.cells must be a whole number, got 1.0.",
    ),
    (
        {"kind": "Mesh", "cells": True},
        "shape.cells must be a whole number, got True.",
    ),
    (MESH | {"closed": 1}, "shape.closed must be true or false, got 1."),
    (MESH | {"name": 1}, "shape.name must be a string, got 1."),
    (MESH | {"file": 1}, "shape.file must be a string, got 1."),
    (MESH | {"limit": 0}, "shape.limit must be at least 1, got 0."),
    (MESH | {"limit": "a"}, "shape.limit must be a whole number, got 'a'."),
    (
        MESH | {"order": "third"},
        "shape.order must be one of ['first', 'second'], got 'third'.",
    ),
    (MESH | {"level": True}, "shape.level must be one of [1, 2], got True."),
    (MESH | {"step": "fast"}, "shape.step must be a number or 'auto', got 'fast'."),
    (MESH | {"step": -1.0}, "shape.step must be above 0.0, got -1.0."),
    (MESH | {"pair": [1]}, "shape.pair must be a list of 2, got [1]."),
    (MESH | {"pair": 1}, "shape.pair must be a list, got 1."),
    (MESH | {"pair": [1, "a"]}, "shape.pair[1] must be a number, got 'a'."),
]


@pytest.mark.parametrize(("shape", "message"), WRONG, ids=lambda v: str(v)[:50])
def test_wrong_values_are_named_in_one_line(shape, message):
    with pytest.raises(ConfigError) as caught:
        build(Scene, {"shape": shape})
    assert str(caught.value) == message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"shapes": ["Disc", {"kind": "Disc", "radius": -1}]},
            "shapes[1].radius must be above 0.0, got -1.0.",
        ),
        ({"shapes": [{"kind": "Mesh"}]}, "shapes[0].cells is required."),
        ({"shapes": "Disc"}, "shapes must be a list, got 'Disc'."),
        ({"weights": [1.0, "x"]}, "weights[1] must be a number, got 'x'."),
        ({"disc": 3}, "disc must be a table, got 3."),
        ({"disc": "Mesh"}, "disc.kind must be one of ['Disc'], got 'Mesh'."),
        ({"disc": {"kind": 1}}, "disc.kind must be one of ['Disc'], got 1."),
        (
            {"disk": {}},
            "disk is not a field of Scene, which has "
            "['shape', 'shapes', 'weights', 'disc'].",
        ),
        ([], "config must be a table, got []."),
        ("Scene", "config must be a table, got 'Scene'."),
    ],
)
def test_wrong_tables_are_named_in_one_line(table, message):
    with pytest.raises(ConfigError) as caught:
        build(Scene, table)
    assert str(caught.value) == message


def test_a_typo_is_told_before_what_it_leaves_missing():
    with pytest.raises(ConfigError, match=r"^cell is not a field of Mesh"):
        build(AbstractShape, {"kind": "Mesh", "cell": 3})


def test_a_path_is_put_before_the_message():
    with pytest.raises(ConfigError, match=r"^flow\.scene\.shape\.cells is required\.$"):
        build(Scene, {"shape": {"kind": "Mesh"}}, path="flow.scene")
    with pytest.raises(ConfigError, match=r"^flow must be a table, got 3\.$"):
        build(Scene, 3, path="flow")


def test_invariants_of_a_class_are_told_with_its_path():
    with pytest.raises(ConfigError, match=r"^x\.number must be even, got 3\.$"):
        build(Even, {"number": 3}, path="x")
    # The bounds of the fields are checked beside the invariant of the class.
    with pytest.raises(ConfigError, match=r"^number must be at least 0, got -2\.$"):
        build(Even, {"number": -2})


def test_components_made_in_python_are_checked_alike():
    with pytest.raises(ValueError, match=r"^radius must be above 0.0, got -1.0\.$"):
        Disc(-1.0)
    with pytest.raises(ValueError, match=r"^share must be finite, got nan\.$"):
        Disc(share=math.nan)
    with pytest.raises(ValueError, match=r"^order must be one of .* got 'third'\.$"):
        Mesh(cells=1, order="third")


def test_the_table_given_is_left_as_it_was():
    table = {"kind": "Disc", "radius": 2.0}
    build(AbstractShape, table)
    assert table == {"kind": "Disc", "radius": 2.0}
