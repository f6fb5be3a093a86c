"""Settings of every test: strict JAX in double precision, no display, fixed seeds."""

import atexit
import os
import shutil
import tempfile

os.environ["MPLBACKEND"] = "Agg"
# Compiling is most of the time, and much of it the same in every process: what one has
# compiled, the other workers and the programs that tests start read from here.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = tempfile.mkdtemp(prefix="mfsim-tests-")
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import hypothesis
import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compilation takes the first example of any test past a deadline; a draw that differs
# from run to run would make a failure impossible to repeat.
hypothesis.settings.register_profile(
    "mfsim", deadline=None, derandomize=True, database=None, max_examples=15
)
hypothesis.settings.load_profile("mfsim")


def pytest_addoption(parser):
    """Take the longest tests along on demand, so that a check is short."""
    parser.addoption("--long", action="store_true", help="run the longest tests too")


def pytest_collection_modifyitems(config, items):
    """Skip the longest tests unless asked for."""
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="takes long: pass --long")
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(skip)


@pytest.fixture
def key():
    """A random key, the same in every test."""
    return jax.random.key(20261122)
