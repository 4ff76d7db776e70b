"""Simulate a shop, land its data, and keep its ground truth."""
