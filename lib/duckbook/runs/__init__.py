"""The chain: execute notebooks, record, report, notify, prune."""
