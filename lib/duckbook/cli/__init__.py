"""The command line of duckbook."""
