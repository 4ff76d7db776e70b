"""Where data live: Postgres, S3, DuckDB, the lake and MotherDuck, embedded or your own."""
