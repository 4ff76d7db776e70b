"""Publish the marts: as Parquet files, as a snapshot of the lake, on MotherDuck, and to BI."""
