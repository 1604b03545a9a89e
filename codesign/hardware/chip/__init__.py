"""What is on a chip: accelerators and grids of them, their memories, their area, their files."""
