"""What 20_explore_operations.ipynb and 21_explore_marts.ipynb may say, and how each sentence is computed here."""

from __future__ import annotations
