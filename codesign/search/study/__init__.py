"""A study while it runs: what it measured, what it decides, what it trusts."""
