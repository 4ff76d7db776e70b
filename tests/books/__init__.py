"""The shop's books, kept independently of the warehouse: every mart again, from what landed, in plain Python.

Nothing here reads raw, staging or a model. `landed` copies the landing zone, `typed` reads its values, `versions` says
which record of a key counts, `places`, `lines` and `visits` put the figures together, and one function for each mart
(`dimensions`, `sales`, `customers`, `products`) writes its rows as docs/decisions.md, docs/metrics.md and the
descriptions of the columns define them. `comparing` holds a mart against them.
"""
