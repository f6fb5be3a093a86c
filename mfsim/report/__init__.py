"""Reports: what studies found and what runs did, as files and one page; no JAX.

plotly and jinja2 have their home here.
"""

from mfsim.report.writing import Report as Report
from mfsim.report.writing import write_report as write_report
from mfsim.report.writing import write_study as write_study
