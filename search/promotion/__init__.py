"""From the search's best trials to the exported ensemble: confirm them, select on films they did not train on, open the locked test once.

Knows neither Ray nor Tune: it is handed `run_jobs`, which trains, and `call_all`, which runs a function where the accelerators are.
"""

from search.promotion.all_the_time import AllTheTime
from search.promotion.final import FINAL, FinalPlan, longest_epochs
from search.promotion.jobs import Job, RunJobs, jobs_for
from search.promotion.outcome import Confirmed, Outcome
from search.promotion.promote import promote

__all__ = ["FINAL", "AllTheTime", "Confirmed", "FinalPlan", "Job", "Outcome", "RunJobs", "jobs_for", "longest_epochs", "promote"]
