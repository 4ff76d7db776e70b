"""Backup, erasure, withdrawal, landing check, parity, promotion and status."""
