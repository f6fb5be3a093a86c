"""What a density shows besides its distances: marginals, and how good its grid is."""

from typing import ClassVar

import jax.numpy as jnp

from mfsim.flows import DensityFlow
from mfsim.observables import grid
from mfsim.observables.base import AbstractObservable
from mfsim.series import Series


class Marginals(AbstractObservable):
    """Densities of single coordinates, of a DensityFlow: marginal_w_1, ..., marginal_u.

    Their axes hold the centres of the cells.
    """

    flows: ClassVar = (DensityFlow,)

    def declare(self, flow, integrator, data):
        _need_grid(self, flow)
        return {
            f"marginal_{axis}": Series(
                "1/parameter", f"p({axis})", f"Density of {axis}.", (axis,), (len(a),)
            )
            for axis, a in flow.axes(data.x_train.shape[1]).items()
        }

    def measure(self, look):
        masses, flow = look.state.params, look.flow
        dim = masses.ndim - 1
        found = {}
        for axis, width in enumerate(flow.widths(dim)):
            others = tuple(k for k in range(dim + 1) if k != axis)
            name = "u" if axis == dim else f"w_{axis + 1}"
            found[f"marginal_{name}"] = masses.sum(axis=others) / width
        return found


class GridQuality(AbstractObservable):
    """Whether a DensityFlow's box and cells will do: boundary_mass, cell_peclet."""

    flows: ClassVar = (DensityFlow,)

    def declare(self, flow, integrator, data):
        _need_grid(self, flow)
        return {
            "boundary_mass": Series(
                "1",
                "-",
                "Mass in the outermost cells of any axis, 1/64 of them at either end.",
            ),
            "cell_peclet": Series(
                "1",
                "|dV|",
                "Rise of the potential V from cell to cell, root mean square over p: "
                "of second order in the cells below 1, upwind above.",
            ),
        }

    def measure(self, look):
        masses = look.state.params
        return {
            "boundary_mass": jnp.maximum(look.flow.boundary_mass(masses), 0.0),
            "cell_peclet": look.flow.cell_peclet(masses, look.once(grid.potential)),
        }


def _need_grid(observable: AbstractObservable, flow: object) -> None:
    if not isinstance(flow, DensityFlow):
        raise ValueError(
            f"{type(observable).__name__} must be given a flow of kind DensityFlow, "
            f"got {type(flow).__name__}; leave it out."
        )
