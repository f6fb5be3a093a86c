"""Tangent kernels of networks."""

from mfsim.kernels.empirical import tangent_kernel as tangent_kernel
