"""The commands of `duckbook` and what they print."""
