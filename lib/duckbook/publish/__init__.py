"""Published marts as Parquet, as a snapshot of the lake or on MotherDuck, and BI."""
