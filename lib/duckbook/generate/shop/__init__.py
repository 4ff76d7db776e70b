"""The simulated store: an online retailer in the USA that sells in USD, with returns and reviews.

Ten categories of goods, three years of history from the opening on; sign-ups grow by 28 % a year, and sales by more as
long as customers who come back add up. What is planted, with the source
of each assumption, stands in `parameters`; the latent values are written beside the data as truth
tables that no model reads.

The process is continuous in time and knows no as-of date: a landing is a slice of it. Every number is a hash of the
seed and of what it is for (`randomness`), money is whole cents until it lands, and no exp or log of
the machine is used (`distributions`), so that seed, size and dates decide every byte.

Columns are made a piece at a time and kept in files beyond that (`spool`), so that a store of a million
customers takes the memory of a smaller one; what is held of each is eight bytes, when they were last seen.

From the bottom up: randomness, spool → distributions → season, working_days, parameters, catalogue, places → products,
customers → purchases → shelves → baskets → stock, fulfilment → reviews (review_words); visits → interactions;
simulation joins them, records slices them, dirt soils them.
"""
