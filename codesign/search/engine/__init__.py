"""The default optimiser: a posterior of losses, expected hypervolume improvement (EHVI), and exact Pareto fronts."""
