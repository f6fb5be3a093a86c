"""Means and covariances of the outputs and of the neurons."""

from typing import ClassVar

import jax.numpy as jnp

from mfsim.flows import DensityFlow, ParticleFlow
from mfsim.observables.base import AbstractObservable, train_outputs
from mfsim.series import Series


class OutputMoments(AbstractObservable):
    """Mean and spread of f over the training points: output_mean, output_std."""

    def declare(self, flow, integrator, data):
        mean = Series("output", "E_S f", "Mean output over the training points.")
        std = Series("output", "sd_S f", "Standard deviation of the training outputs.")
        return {"output_mean": mean, "output_std": std}

    def measure(self, look):
        f = look.once(train_outputs).astype(jnp.float64)
        return {"output_mean": f.mean(), "output_std": f.std()}


class NeuronMoments(AbstractObservable):
    """Mean and covariance of (w_1 ... w_d, u) over the neurons.

    Cost: the covariance holds (d + 1)^2 numbers a row of the file.
    """

    flows: ClassVar = (ParticleFlow, DensityFlow)

    def declare(self, flow, integrator, data):
        size = data.x_train.shape[1] + 1
        mean = Series(
            "parameter",
            "mu",
            "Mean of (w_1 ... w_d, u) over the neurons.",
            ("coordinate",),
            (size,),
        )
        covariance = Series(
            "parameter^2",
            "C",
            "Covariance of (w_1 ... w_d, u) over the neurons.",
            ("coordinate", "other_coordinate"),
            (size, size),
        )
        return {"neuron_mean": mean, "neuron_covariance": covariance}

    def measure(self, look):
        (w, u), masses = look.flow.law(look.state)
        theta = jnp.concatenate([w, u[:, None]], axis=1).astype(jnp.float64)
        shares = jnp.full(len(u), 1 / len(u)) if masses is None else masses
        mean = shares @ theta
        centred = theta - mean[None, :]
        covariance = (shares[None, :] * centred.T) @ centred
        return {"neuron_mean": mean, "neuron_covariance": covariance}
