"""Search spaces: one YAML file says what is searched, for how long and on what.  Pure: neither Ray nor Optuna."""

from search.space.knobs import SCHEDULE, Knob
from search.space.load import load
from search.space.space import Space

__all__ = ["SCHEDULE", "Knob", "Space", "load"]
