"""Coefficients of area, delay and energy fitted to synthesised units, and the errors on those left out."""
