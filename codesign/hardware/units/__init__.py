"""What one compute unit costs: its Verilog times coefficients fitted to synthesis, each with provenance."""
