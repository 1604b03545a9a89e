"""Verilog of units and arrays, with the count of what they are made of and where they are cut."""
