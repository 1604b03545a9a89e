"""Which candidates to measure next: posteriors of losses, expected hypervolume improvement, exact fronts."""
