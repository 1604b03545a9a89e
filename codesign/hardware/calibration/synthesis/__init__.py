"""Units as mapped gates: which ones, yosys, and the toggles and energy of the netlists on operands."""
