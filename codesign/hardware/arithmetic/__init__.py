"""The numbers of a compute unit, formats aside: operands, accumulators, modes, and when a sum can wrap."""
