"""Tangent kernels of networks, and what they predict."""

from mfsim.kernels.empirical import tangent_kernel as tangent_kernel
from mfsim.kernels.infinite_width import infinite_width_kernel as infinite_width_kernel
from mfsim.kernels.ode import kernel_loss_flow as kernel_loss_flow
from mfsim.kernels.ode import loss_flow as loss_flow
from mfsim.kernels.prediction import KernelPrediction as KernelPrediction
from mfsim.kernels.prediction import critical_step as critical_step
from mfsim.kernels.prediction import kernel_gradient_descent as kernel_gradient_descent
from mfsim.kernels.prediction import kernel_gradient_flow as kernel_gradient_flow
from mfsim.kernels.spectrum import ExtremeEigenvalues as ExtremeEigenvalues
from mfsim.kernels.spectrum import Spectrum as Spectrum
from mfsim.kernels.spectrum import alignment as alignment
from mfsim.kernels.spectrum import decompose as decompose
from mfsim.kernels.spectrum import effective_rank as effective_rank
from mfsim.kernels.spectrum import extreme_eigenvalues as extreme_eigenvalues
from mfsim.kernels.spectrum import leading_spectrum as leading_spectrum
from mfsim.kernels.spectrum import require_positive as require_positive
