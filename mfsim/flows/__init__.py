"""Flows: how what is learned moves."""

from mfsim.flows.base import AbstractFlow as AbstractFlow
from mfsim.flows.base import AbstractLangevinFlow as AbstractLangevinFlow
from mfsim.flows.base import Rates as Rates
from mfsim.flows.base import State as State
from mfsim.flows.density import DensityFlow as DensityFlow
from mfsim.flows.linearised import LinearisedFlow as LinearisedFlow
from mfsim.flows.particles import ParticleFlow as ParticleFlow
from mfsim.flows.weights import WeightFlow as WeightFlow
