"""Optuna's side of a study: its storage, and its trials as the run folder has them."""
