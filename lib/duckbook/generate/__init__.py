"""The simulated shop, landing what it sells, and its ground truth."""
