"""Tasks from directories of other libraries, which the tests write with small random networks."""
