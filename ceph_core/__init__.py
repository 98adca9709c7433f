"""Cephalometric landmark detection: data, models, training and inference.  Never imports Ray or Optuna."""

__version__ = "0.1.0"
