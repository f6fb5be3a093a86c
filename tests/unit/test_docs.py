"""The documentation names everything that a user can write or read."""

import contextlib
import dataclasses
import io
import re
import tomllib
from pathlib import Path

import pytest

from mfsim.component import Component, build, describe, families, kinds
from mfsim.config import load_table
from mfsim.datasets import Prepare
from mfsim.ensemble.measured import declare
from mfsim.experiment import Experiment, Schedule
from mfsim.formula import RANGE_KEYS
from mfsim.observables import AbstractObservable
from mfsim.studies import AbstractStudy

DOCS = Path(__file__).parents[2] / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text()
NOTATION = (DOCS / "notation.md").read_text()

# Kinds that tests define are no part of the program.
KINDS = {
    kind: cls
    for family in families().values()
    for kind, cls in kinds(family).items()
    if cls.__module__.startswith("mfsim.")
}
TABLES = {c.__name__: c for c in (Experiment, Schedule, Prepare)} | KINDS

SMALL = {
    "flow": {
        "kind": "ParticleFlow",
        "network": {"kind": "TwoLayer", "width": 8},
        "dataset": {"kind": "TwoClassSphere", "dim": 2, "num_train": 4, "num_test": 4},
    },
    "integrator": {"kind": "NoisyGD", "step": 0.1},
    "schedule": {"num_steps": 1},
}
GRID = {
    "flow": SMALL["flow"] | {"kind": "DensityFlow", "temperature": 0.1, "cells": 8},
    "integrator": {"kind": "FiniteVolume", "step": 0.1},
}
DEEP = {
    "flow": SMALL["flow"]
    | {"kind": "WeightFlow", "network": {"kind": "DeepRelu", "width": 4}}
}
OBSERVED = [
    pytest.param(table, kind, id=f"{table['flow']['kind']}-{kind}")
    for table in (SMALL, SMALL | GRID, SMALL | DEEP)
    for kind, observable in kinds(AbstractObservable).items()
    if issubclass(KINDS[table["flow"]["kind"]], observable.flows)
]


def toml_blocks(text: str) -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", TABLES)
def test_every_kind_and_field_is_in_the_configuration(name: str) -> None:
    if name in KINDS:
        assert re.search(rf"\b{name}\b", CONFIGURATION)
    for field in dataclasses.fields(TABLES[name]):
        assert f"`{field.name}`" in CONFIGURATION, field.name


def test_every_documented_key_exists() -> None:
    fields = {f.name for cls in TABLES.values() for f in dataclasses.fields(cls)}
    rows = re.findall(r"^\| `(\w+)` \|", CONFIGURATION, re.MULTILINE)
    assert len(rows) > 50
    assert set(rows) <= fields | {"sweep"}


def test_documented_defaults_are_those_of_the_code() -> None:
    row = r"^\| `(\w+)` \| `?([^|`]+?)`? \|"
    documented = re.findall(row, CONFIGURATION, re.MULTILINE)
    defaults: dict[str, set] = {}
    for cls in TABLES.values():
        for field in dataclasses.fields(cls):
            defaults.setdefault(field.name, set()).add(_text(field.default))
    checked = 0
    for name, text in documented:
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            continue  # Words, such as "required" or "all ten".
        assert _text(value) in defaults[name], name
        checked += 1
    assert checked > 30


def _text(value: object) -> str:
    """A default as a user writes it, a kind without settings by its name."""
    if isinstance(value, Component):
        table = describe(value)
        defaulted = build(type(value), {}) == value
        return str({} if "kind" not in table else table["kind"] * defaulted)
    if isinstance(value, (tuple, list)) and not any(
        isinstance(item, Component) for item in value
    ):
        return str([float(item) if type(item) is int else item for item in value])
    if isinstance(value, tuple):
        return str([type(item).__name__ for item in value])
    return str(value)


@pytest.mark.parametrize("key", [*RANGE_KEYS, "sweep", "--resume", "--overwrite"])
def test_sweeps_and_options_are_in_the_configuration(key: str) -> None:
    assert f"`{key}`" in CONFIGURATION


@pytest.mark.parametrize(("table", "kind"), OBSERVED)
def test_every_series_is_documented(table: dict, kind: str) -> None:
    experiment = load_table({**table, "observables": [kind]}, Path())
    assert isinstance(experiment, Experiment)
    for name in declare(experiment, experiment.flow.dataset.load()):
        assert f"`{name}`" in CONFIGURATION
        assert f"`{name}`" in NOTATION


def test_example_configurations_load() -> None:
    experiment, sweep, study = map(tomllib.loads, toml_blocks(CONFIGURATION))
    assert build(AbstractStudy, study).widths == (256, 1024)
    assert isinstance(load_table(experiment, Path()), Experiment)
    points = load_table(experiment | sweep, Path()).points
    assert len(points) == 9 * 2 * 4
    alphas = {(p.values["width"], p.values["alpha"]) for p in points}
    assert {(64, 8.0), (256, 16.0), (64, 1.0)} <= alphas
    assert points[0].index.keys() == {"alpha_index", "width", "seed"}


def test_snippets_on_kernels_print_what_they_are_said_to() -> None:
    pairs = re.findall(
        r"```python\n(.*?)```\n\n```text\n(.*?)```",
        (DOCS / "kernels.md").read_text(),
        re.DOTALL,
    )
    assert len(pairs) == 2
    for code, said in pairs:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {})
        assert printed.getvalue() == said


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link
