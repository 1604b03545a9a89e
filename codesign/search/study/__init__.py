"""A running study: its state, the search loop, sentinels, and the acceptance of designs for the report."""
