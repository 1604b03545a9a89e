"""Analysis of generated Verilog before synthesis: bill of materials and logic levels of paths."""
