"""The simulated shop: an online retailer in the USA that sells in USD, with returns and reviews.

The shop has ten categories and three years of history from its opening. Sign-ups grow by 28 % per year; sales grow
faster, as returning customers accumulate. `parameters` holds every planted assumption with its source. Latent values
land next to the data as truth tables, which no model reads.

The process is continuous in time and has no as-of date: a landing is a slice of it. Seed, size and dates decide every
byte, because each random number is a hash of the seed and its purpose (`randomness`), money is in whole cents until it
lands, and the platform's exp and log are not used (`distributions`).

Columns are computed in chunks and kept in files (`spool`), so that memory does not grow with the shop, except for eight
bytes per customer for the last visit.

Dependencies, from the bottom up: randomness, spool → distributions → season, working_days, parameters, catalogue,
places → products, customers → purchases → shelves → baskets → stock, fulfilment → reviews (review_words); visits →
interactions. simulation joins them, records slices them, and dirt makes some records dirty.
"""
