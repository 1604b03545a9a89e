"""One module per command of the door, each with ``run(arguments) -> exit code``."""
