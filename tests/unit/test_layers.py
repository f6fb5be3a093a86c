"""Who imports whom, read from the source."""

import ast
from pathlib import Path

import pytest

import mfsim

ROOT = Path(mfsim.__file__).parent
LAYERS = [
    {"__main__"},
    {"cli"},
    {"plan", "summary", "report"},
    {"studies"},
    {"figures", "config"},
    {"ensemble"},
    {"storage", "sweep", "overrides", "progress"},
    {"formula"},
    {"experiment"},
    {"observables", "integrators"},
    {"accounts", "theory"},
    {"flows"},
    {"kernels", "divergences"},
    {"networks", "losses", "datasets"},
    {"activations", "blocks", "memory"},
    {"component", "findings"},
    {"errors", "series"},
]
"""From the outside in: a module imports from layers below its own."""

HOMES = {
    "h5py": {"storage", "datasets.array_file"},
    "matplotlib": {"figures"},
    "cattrs": {"component", "findings"},
    "jinja2": {"report"},
    "plotly": {"report"},
    "typer": {"cli"},
    "rich": {"cli", "progress"},
    "pooch": {"datasets.downloads"},
    "requests": {"datasets.downloads"},
    "sklearn": {
        "datasets.digits",
        "datasets.prepare",
        "divergences.nearest_neighbours",
    },
    "ott": {
        "divergences.grid_transport",
        "divergences.wasserstein",
        "integrators.proximal",
    },
    "diffrax": {"kernels.ode", "integrators"},
}
WITHOUT_JAX = (
    "storage",
    "figures",
    "findings",
    "report",
    "errors",
    "series",
    "summary",
    "cli",
    "progress",
)


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            yield name, ast.parse(path.read_text())


def imported(tree, *, lazy):
    """Names of imported modules; `lazy` takes those inside functions too."""
    nodes = ast.walk(tree) if lazy else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            if node.module == "mfsim":
                yield from (f"mfsim.{alias.name}" for alias in node.names)


def layer(name):
    family = name.split(".")[0]
    (found,) = (i for i, names in enumerate(LAYERS) if family in names)
    return found


MODULES = dict(modules())


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_from_below(name):
    for other in imported(MODULES[name], lazy=True):
        if not other.startswith("mfsim."):
            continue
        below = other.removeprefix("mfsim.")
        same_package = below.split(".")[0] == name.split(".")[0]
        assert same_package or layer(below) > layer(name), f"{name} imports {other}"


@pytest.mark.parametrize("name", MODULES)
def test_each_heavy_library_has_one_home(name):
    for other in imported(MODULES[name], lazy=True):
        homes = HOMES.get(other.split(".")[0])
        fits = homes is None or any(name.startswith(home) for home in homes)
        assert fits, f"{name} imports {other}, whose home is {homes}"


def test_what_opens_anywhere_imports_no_jax():
    """Follows module-level imports of mfsim through to third parties."""

    def reach(name, seen):
        for other in imported(MODULES.get(name, ast.Module([], [])), lazy=False):
            top = other.split(".")[0]
            assert top not in ("jax", "equinox", "diffrax"), f"{name} imports {other}"
            below = other.removeprefix("mfsim.")
            if top == "mfsim" and below not in seen:
                seen.add(below)
                reach(below, seen)

    for name in MODULES:
        if name.split(".")[0] in WITHOUT_JAX:
            reach(name, {name})
