"""Arithmetic of compute units: operands, accumulators, modes, and overflow of accumulators."""
