"""Writing the results of a study to its folder."""
