"""Reads cell libraries from Liberty files: areas, energies, delays, boolean functions and simulation models."""
