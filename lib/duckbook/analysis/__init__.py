"""What notebooks import: session, charts, data sets, features, models, exercises."""
