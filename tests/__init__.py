"""The smallest space that is searched: of the tiny network, in two formats."""

SPACE = """
name: tiny
tasks:
  tiny: {task: "python:tests.tiny:task"}
pairs: [int8, mxfp4]
hardware:
  units: {sets: [[int8], [mxfp4]], subsets_of: [[int8, mxfp4]]}
  rows: [2, 4]
  columns: [2]
  sram_kib: [4]
objectives: [tiny.quality, area_mm2]
search: {evaluations: 4, batch: 2, front_size: 6}
"""
# one array for both formats
ARRAY_SPACE = """
name: tiny
tasks:
  tiny: {task: "python:tests.tiny:task"}
pairs: [int8, mxfp4]
hardware:
  units: {sets: [[int8, mxfp4]]}
  dot: [4]
  rows: [4]
  columns: [2]
  sram_kib: [4]
objectives: [tiny.quality, area_mm2]
search: {evaluations: 2, batch: 2, front_size: 2}
"""
