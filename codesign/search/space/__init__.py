"""Search spaces: the YAML file, and the networks, accelerators and objectives that it resolves to."""
