"""Optuna's samplers on a space of ours, and our engine as a sampler of Optuna's."""
