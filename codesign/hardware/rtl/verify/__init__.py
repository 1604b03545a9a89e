"""Whether Verilog computes what it should: a software twin, vectors, test benches, simulators, deviations."""
