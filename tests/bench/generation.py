"""How many rows a second the shop makes in memory, and how many it lands in S3 and Postgres.

The reference makes records one at a time with Faker, as generators of sample data commonly do.
`python tests/bench/generation.py memory 100000` makes a shop in this process and prints its rows: what is timed.
"""

from __future__ import annotations

import sys
from datetime import date

from measuring import Figures, Timing, fresh_shop, timed

FIRST_AS_OF = date(2026, 6, 30)
FAKER_RECORDS = 5_000


def measure(figures: Figures, customers: int, runs: int) -> None:
    """Add the figures of a shop of this many customers."""
    taken: dict[str, list[Timing]] = {"reference": [], "memory": [], "landing": []}
    for _ in range(runs):
        for what, timings in taken.items():
            with fresh_shop(customers=customers) as environment:
                if what == "landing":
                    timed([[sys.executable, "-m", "duckbook.cli.commands", "up"]], environment)
                timings.append(timed([[sys.executable, __file__, what, str(customers)]], environment))
    size = f"{customers:,} customers"
    figures.add("Faker, a record at a time", f"{FAKER_RECORDS:,} customers", taken["reference"], rows=FAKER_RECORDS)
    per_row = figures.rows[-1]["seconds"] / FAKER_RECORDS
    for what, name in (("memory", "generated in memory"), ("landing", "generated and landed")):
        rows = int(taken[what][0].printed)
        figures.add(name, size, taken[what], ("Faker, as many records", per_row * rows), rows)


def memory(customers: int) -> int:
    """Make every row of the historic load and of the latest days, and keep none; how many they are."""
    from duckbook.generate.shop import records
    from duckbook.generate.shop.simulation import Shop, history_end, latest_window, quarters

    shop = Shop(customers, 42, FIRST_AS_OF, FIRST_AS_OF, 0.002).build()
    windows = [*quarters(FIRST_AS_OF), latest_window(FIRST_AS_OF, history_end(FIRST_AS_OF))]
    made = 0
    for window in windows:
        made += sum(len(piece) for slices in records.SLICES.values() for piece in slices(shop, window))
    return made


def landing(_customers: int) -> int:
    """Land the history and the latest days in the data folder that the environment names; return the number of rows."""
    from duckbook.backends import manifest, servers
    from duckbook.generate import landing
    from duckbook.settings import settings

    endpoints = servers.up(settings())
    chosen = manifest.choose(settings(), endpoints)
    landed = landing.land_history(settings(), endpoints, **chosen)
    landed = landed + landing.land_latest(settings(), endpoints, chosen["first_as_of"])
    return sum(row["rows"] for row in landed)


def reference(_customers: int) -> int:
    """Make the customers of a shop one at a time."""
    from faker import Faker

    fake = Faker("en_US")
    for number in range(FAKER_RECORDS):
        {
            "customer_id": number,
            "email": fake.email(),
            "first_name": fake.first_name(),
            "last_name": fake.last_name(),
            "age": fake.random_int(18, 80),
            "gender": fake.random_element(("Female", "Male", "Other")),
            "annual_income": fake.random_int(20_000, 200_000),
            "city": fake.city(),
            "state": fake.state_abbr(),
            "signup_date": fake.date_time_between("-3y").isoformat(),
            "last_login": fake.date_time_between("-30d").isoformat(),
        }
    return FAKER_RECORDS


if __name__ == "__main__":
    print({"memory": memory, "landing": landing, "reference": reference}[sys.argv[1]](int(sys.argv[2])))
