"""Questions that chip teams ask, each answered by one command: ``codesign ask QUESTION``.

An answer is a short text, tables of figures with their intervals, what bounds them, and an estimate by hand beside the
model's figures. `registry` lists the questions; a module holds one question or a family of them.
"""
