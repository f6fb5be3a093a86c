"""Transition: where between alpha = 1 and sqrt(m) the mean-field regime ends."""

from mfsim.studies.transition.study import Transition as Transition
