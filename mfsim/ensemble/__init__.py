"""The ensemble: experiments, one or many, run in as few compiled programs as can be.

`preparation` checks tasks and makes them members, `grouping` says which members go
together, `program` compiles what a group needs, `group` is the loop over chunks,
`member` keeps one run's file, and `runs` spreads the groups over cores or devices.
"""

from mfsim.ensemble.program import Programs as Programs
from mfsim.ensemble.runs import Outcome as Outcome
from mfsim.ensemble.runs import num_workers as num_workers
from mfsim.ensemble.runs import pick_devices as pick_devices
from mfsim.ensemble.runs import run as run
from mfsim.ensemble.runs import run_all as run_all
from mfsim.ensemble.runs import run_tasks as run_tasks
