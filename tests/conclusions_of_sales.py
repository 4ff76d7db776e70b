"""What 08_explore_sales.ipynb may say, and how each sentence is computed here."""

from __future__ import annotations
