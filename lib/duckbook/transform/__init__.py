"""dbt: run it, read its results, contracts, quarantine limit, reconciliation, masking."""
