"""Fits of area, delay and energy to synthesised units, and their errors on held-out units."""
