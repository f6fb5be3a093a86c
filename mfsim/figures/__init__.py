"""Figures: a run against time, a density, a sweep; matplotlib's one home.

A function takes what `mfsim.storage` reads and returns a `Figure` of its own: there is
no current figure, no backend and no window.
"""

from mfsim.figures.animation import save_animation as save_animation
from mfsim.figures.charts import chart_figure as chart_figure
from mfsim.figures.charts import chart_files as chart_files
from mfsim.figures.density import density_figure as density_figure
from mfsim.figures.runs import run_figure as run_figure
from mfsim.figures.saving import save_density as save_density
from mfsim.figures.saving import save_plot as save_plot
from mfsim.figures.saving import save_plots as save_plots
from mfsim.figures.statistics import crossing as crossing
from mfsim.figures.sweeps import sweep_figure as sweep_figure
from mfsim.figures.sweeps import transition_figure as transition_figure
from mfsim.figures.times import time_figure as time_figure
