"""Run the chain: execute, record, report, notify, resume and prune."""
