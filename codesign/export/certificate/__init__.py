"""Certificates: a network of a design in the arithmetic of its compute unit, and a record that others can check."""
