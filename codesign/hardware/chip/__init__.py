"""Accelerators and grids of accelerators, with their memories, areas and files."""
