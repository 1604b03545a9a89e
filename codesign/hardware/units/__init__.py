"""Cost model of one compute unit: its Verilog, and coefficients with provenance that are fitted to synthesis."""
