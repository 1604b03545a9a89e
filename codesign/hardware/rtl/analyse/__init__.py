"""What Verilog says of itself before synthesis: its bill of materials and the levels of its paths."""
