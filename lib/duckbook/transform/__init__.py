"""Run dbt and read its results: contracts, quarantine limit, reconciliation, masking."""
