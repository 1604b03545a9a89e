"""Search strategies: the engine and Optuna's samplers on a search space; and the engine as an Optuna sampler."""
