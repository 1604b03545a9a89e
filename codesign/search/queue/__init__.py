"""The study as a queue of trials: storages, leases, workers of this machine and of others."""
