"""Particles and the density that they are samples of."""

from mfsim.studies.particles_to_density.study import (
    ParticlesToDensity as ParticlesToDensity,
)
