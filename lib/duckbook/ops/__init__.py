"""Backup, erase a person, withdraw a batch, parity, promote, status."""
