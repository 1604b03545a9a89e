"""The study as a queue of trials: storages, the coordinator's lease, workers of this machine and of others."""
