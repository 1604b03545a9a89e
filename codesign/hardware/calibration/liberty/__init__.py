"""Cell libraries in Liberty files: areas, energies, delays, boolean functions and models for simulators."""
