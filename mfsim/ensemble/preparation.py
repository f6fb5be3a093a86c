"""From tasks to members: data loaded, "auto" a number, all that needs data checked."""

import dataclasses
import functools
import json
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mfsim.component import describe
from mfsim.datasets import AbstractDataset, Data
from mfsim.ensemble.member import STATE_COPIES, Member, Task
from mfsim.ensemble.program import physics, stack
from mfsim.errors import ConfigError
from mfsim.experiment import Experiment
from mfsim.integrators.stability import auto_step, round_down, stable_step
from mfsim.memory import memory_of


def prepare(tasks: Sequence[Task]) -> list[Member]:
    """Load the data, turn "auto" into numbers and check all that needs arrays.

    Raises:
        ConfigError: If the data cannot be read or do not suit; names the field.
    """
    loaded: dict[str, Data] = {}
    members = []
    for task in tasks:
        dataset = task.experiment.flow.dataset
        name = json.dumps(describe(dataset), sort_keys=True)
        if name not in loaded:
            loaded[name] = load_data(dataset)
        data = loaded[name]
        experiment = resolve(task.experiment, data)
        members.append(Member(task, experiment, data))
    return members


def load_data(dataset: AbstractDataset) -> Data:
    """The arrays of a dataset.

    Raises:
        ConfigError: If they cannot be had; the message begins with the dotted path.
    """
    try:
        return dataset.load()
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"flow.dataset.{error}") from error


def resolve(experiment: Experiment, data: Data) -> Experiment:
    """The experiment with numbers for "auto" and epochs, checked against its data.

    Raises:
        ConfigError: If the labels or the batch size do not suit the data.
    """
    try:
        experiment.flow.loss.check_labels(np.concatenate([data.y_train, data.y_test]))
    except ValueError as error:
        raise ConfigError(f"flow.dataset.{error}") from error
    samples = len(data.y_train)
    batch = getattr(experiment.integrator, "batch_size", None)
    if batch is not None and batch > samples:
        raise ConfigError(
            f"integrator.batch_size must be at most the {samples} training points, "
            f"got {batch}."
        )
    per_epoch = 1 if batch is None else samples // batch
    has_epochs = experiment.schedule.epochs is not None
    if has_epochs and not hasattr(experiment.integrator, "batch_size"):
        raise ConfigError(
            "schedule.epochs must be given with an integrator that takes batches, got "
            f"{type(experiment.integrator).__name__}; give horizon or num_steps."
        )
    try:
        schedule = experiment.schedule.in_steps(per_epoch)
    except ValueError as error:
        raise ConfigError(f"schedule.{error}") from error
    experiment = dataclasses.replace(experiment, schedule=schedule)
    if (dtype := experiment.flow.dtype) is not None:
        experiment = dataclasses.replace(experiment, dtype=dtype)
    try:
        experiment.flow.check(data)
    except ValueError as error:
        raise ConfigError(f"flow.{error}") from error
    _check_reals(experiment)
    _check_data(experiment, data)
    _check_memory(experiment, data)
    if experiment.integrator.step != "auto":
        return _check_step(experiment, data)
    step = _auto_step(experiment, data) * experiment.time_rate
    step *= experiment.integrator.auto_share
    if not 0 < step < float("inf"):
        raise ConfigError(
            "integrator.step must be a number here, got 'auto', but the tangent kernel "
            "on the training inputs is zero and sets no limit."
        )
    step = min(round_down(step), experiment.schedule.longest)
    flow, integrator = physics(experiment.with_step(step))
    step = max(step, integrator.least_step(flow, data) * experiment.time_rate)
    return _check_step(experiment.with_step(step), data)


_limit = eqx.filter_jit(stable_step)


def _auto_step(experiment: Experiment, data: Data) -> float:
    flow, integrator = physics(experiment.with_step(1.0))
    dtype = jnp.dtype(experiment.dtype)
    state = flow.init(experiment.key("init"), data.x_train.shape[1], dtype)
    x = jnp.asarray(data.x_train, dtype)
    reals = jax.tree.map(lambda a: a[0] if eqx.is_array(a) else a, stack([flow], dtype))
    batch = getattr(integrator, "batch_size", None)
    return auto_step(flow, float(_limit(reals, state, x, batch)))


def _check_step(experiment: Experiment, data: Data) -> Experiment:
    flow, integrator = physics(experiment)
    try:
        integrator.check(flow, data)
    except ValueError as error:
        raise ConfigError(f"integrator.{error}") from error
    step, longest = float(experiment.integrator.step), experiment.schedule.longest
    if longest < math.inf and longest / step >= 2**31:
        raise ConfigError(
            f"schedule.horizon must be below 2^31 steps of {step:g}, got {longest:g}."
        )
    if step > longest:
        raise ConfigError(
            f"integrator.step must be at most schedule.horizon = {longest:g}, "
            f"got {step:g}."
        )
    return experiment


def _check_reals(experiment: Experiment) -> None:
    """Refuse reals whose squares the run's precision cannot hold."""
    info = np.finfo(experiment.dtype)
    least, most = float(info.tiny) ** 0.5, float(info.max) ** 0.5
    for part in ("flow.network", "flow", "integrator"):
        owner = functools.reduce(getattr, part.split("."), experiment)
        for field in dataclasses.fields(owner):
            value = getattr(owner, field.name)
            if isinstance(value, float) and value and not least < abs(value) < most:
                raise ConfigError(
                    f"{part}.{field.name} must be between {least:.0e} and {most:.0e} "
                    f"in {experiment.dtype}, got {value:g}."
                )


def _check_data(experiment: Experiment, data: Data) -> None:
    """Refuse inputs and labels that the run's precision cannot hold."""
    most = float(np.finfo(experiment.dtype).max) ** 0.5
    for name, array in data._asdict().items():
        if np.abs(array).max(initial=0) > most:
            raise ConfigError(
                f"flow.dataset.{name} must be below {most:.0e} in {experiment.dtype}, "
                f"got {np.abs(array).max():.3g}; rescale it."
            )


def measuring_bytes(experiment: Experiment, data: Data) -> int:
    """Bytes of the large arrays that the observables hold."""
    return sum(each.plan(experiment.flow, data) for each in experiment.observables)


def state_bytes(experiment: Experiment, data: Data) -> int:
    """Bytes of the states that a run holds, and of what its steps need besides."""
    sizes = experiment.flow.plan(data, experiment.dtype)
    besides = (sizes.get(name, 0) for name in ("sweeps", "features"))
    of_steps = experiment.integrator.plan(experiment.flow, data)
    return STATE_COPIES * sizes["state"] + sum(besides) + of_steps


def _check_memory(experiment: Experiment, data: Data) -> None:
    """Refuse a state that the machine cannot hold a few times over, or a kernel."""
    flow = experiment.flow
    needed = state_bytes(experiment, data)
    there = memory_of(jnp.zeros(()).device)
    if needed > there:
        given = functools.reduce(getattr, flow.size.split("."), flow)
        raise ConfigError(
            f"flow.{flow.size} must let {STATE_COPIES} copies of the state, and what "
            f"a step needs, fit in the {there / 2**30:.0f} GiB of memory, got {given}, "
            f"which needs {needed / 2**30:.3g} GiB."
        )
    observable: Any
    for i, observable in enumerate(experiment.observables):
        if (kernels := observable.plan(flow, data)) > there - needed:
            given = getattr(observable, "max_points", type(observable).__name__)
            field = ".max_points" if hasattr(observable, "max_points") else ""
            raise ConfigError(
                f"observables[{i}]{field} must let what is measured fit beside the "
                f"state in the {there / 2**30:.3g} GiB of memory, got {given}, which "
                f"needs {kernels / 2**30:.3g} GiB; lower it, or flow.{flow.size}."
            )
