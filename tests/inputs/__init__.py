"""Bad inputs over all commands and files, as data, and the test that runs them."""
