"""Pools of names, streets and cities.

Names and their frequencies come from Faker's en_US tables, read once as pools: Faker makes 8,000 names per second, a
gather about 50 million. Cities are the largest of the USA and some small ones, weighted by population (US Census
Bureau, 2023 estimates), with the first three digits of their postal codes and hours behind UTC.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np


class City(NamedTuple):
    """City. `population` is in thousands, `offset` in hours of standard time behind UTC."""

    name: str
    state: str
    zip3: str
    population: int
    offset: int


CITIES = tuple(
    City(*fields)
    for fields in (
        ("New York", "NY", "100", 8258, 5), ("Los Angeles", "CA", "900", 3821, 8), ("Chicago", "IL", "606", 2664, 6),
        ("Houston", "TX", "770", 2314, 6), ("Phoenix", "AZ", "850", 1650, 7), ("Philadelphia", "PA", "191", 1551, 5),
        ("San Antonio", "TX", "782", 1495, 6), ("San Diego", "CA", "921", 1388, 8), ("Dallas", "TX", "752", 1303, 6),
        ("Jacksonville", "FL", "322", 986, 5), ("Austin", "TX", "787", 980, 6), ("San Jose", "CA", "951", 970, 8),
        ("Columbus", "OH", "432", 913, 5), ("Charlotte", "NC", "282", 911, 5), ("Indianapolis", "IN", "462", 880, 5),
        ("San Francisco", "CA", "941", 809, 8), ("Seattle", "WA", "981", 755, 8), ("Denver", "CO", "802", 717, 7),
        ("Oklahoma City", "OK", "731", 703, 6), ("Nashville", "TN", "372", 688, 6), ("Washington", "DC", "200", 679, 5),
        ("El Paso", "TX", "799", 678, 7), ("Las Vegas", "NV", "891", 660, 8), ("Boston", "MA", "021", 654, 5),
        ("Detroit", "MI", "482", 633, 5), ("Portland", "OR", "972", 630, 8), ("Louisville", "KY", "402", 623, 5),
        ("Memphis", "TN", "381", 618, 6), ("Baltimore", "MD", "212", 566, 5), ("Milwaukee", "WI", "532", 562, 6),
        ("Albuquerque", "NM", "871", 560, 7), ("Tucson", "AZ", "857", 548, 7), ("Fresno", "CA", "937", 545, 8),
        ("Sacramento", "CA", "958", 526, 8), ("Atlanta", "GA", "303", 511, 5), ("Kansas City", "MO", "641", 511, 6),
        ("Raleigh", "NC", "276", 482, 5), ("Omaha", "NE", "681", 483, 6), ("Miami", "FL", "331", 455, 5),
        ("Virginia Beach", "VA", "234", 453, 5), ("Oakland", "CA", "946", 436, 8), ("Minneapolis", "MN", "554", 425, 6),
        ("Tampa", "FL", "336", 403, 5), ("Tulsa", "OK", "741", 411, 6), ("Wichita", "KS", "672", 396, 6),
        ("New Orleans", "LA", "701", 364, 6), ("Cleveland", "OH", "441", 362, 5), ("Honolulu", "HI", "968", 341, 10),
        ("Anchorage", "AK", "995", 286, 9), ("Lexington", "KY", "405", 320, 5), ("Newark", "NJ", "071", 304, 5),
        ("Cincinnati", "OH", "452", 311, 5), ("Pittsburgh", "PA", "152", 303, 5), ("St. Louis", "MO", "631", 281, 6),
        ("Orlando", "FL", "328", 320, 5), ("Buffalo", "NY", "142", 274, 5), ("Madison", "WI", "537", 280, 6),
        ("Boise", "ID", "837", 235, 7), ("Richmond", "VA", "232", 229, 5), ("Des Moines", "IA", "503", 210, 6),
        ("Salt Lake City", "UT", "841", 210, 7), ("Birmingham", "AL", "352", 197, 6),
        ("Little Rock", "AR", "722", 203, 6),
        ("Providence", "RI", "029", 190, 5), ("Jackson", "MS", "392", 143, 6), ("Sioux Falls", "SD", "571", 206, 6),
        ("Fargo", "ND", "581", 133, 6), ("Billings", "MT", "591", 120, 7), ("Manchester", "NH", "031", 115, 5),
        ("Charleston", "SC", "294", 155, 5), ("Hartford", "CT", "061", 119, 5), ("Wilmington", "DE", "198", 71, 5),
        ("Portland", "ME", "041", 69, 5), ("Burlington", "VT", "054", 44, 5), ("Cheyenne", "WY", "820", 65, 7),
        ("Huntington", "WV", "257", 45, 5), ("Springfield", "IL", "627", 112, 6), ("Springfield", "MO", "658", 170, 6),
        ("Ann Arbor", "MI", "481", 119, 5), ("Asheville", "NC", "288", 95, 5), ("Bend", "OR", "977", 104, 8),
        ("Duluth", "MN", "558", 87, 6), ("Flagstaff", "AZ", "860", 76, 7), ("Ithaca", "NY", "148", 32, 5),
        ("Lawrence", "KS", "660", 96, 6), ("Missoula", "MT", "598", 77, 7), ("Santa Fe", "NM", "875", 89, 7),
        ("Savannah", "GA", "314", 147, 5), ("Tallahassee", "FL", "323", 202, 5), ("Waco", "TX", "767", 144, 6),
    )
)  # fmt: skip

ZONES = {
    state: zone
    for zone, states in {
        2: "IN KY",
        3: "IL OH TN WV",
        4: "AL AR DC DE GA IA MD MI MO MS NC NE PA SC VA WI",
        5: "CT FL KS LA MA ME MN ND NH NJ NY OK RI SD TX VT",
        6: "CO NM WY",
        7: "AZ ID MT NV UT",
        8: "CA OR WA",
        9: "AK HI",
    }.items()
    for state in states.split()
}
"""Carrier zone of each state, by the miles from the warehouse in Louisville, Kentucky, to the state's largest `CITIES`.
Zones 2 to 8 are those of USPS and UPS: up to 150, 300, 600, 1,000, 1,400, 1,800 and more miles. Zone 9 is Alaska and
Hawaii."""

GENDERS = ("female", "male", "nonbinary")
"""Faker's pools of given names."""

SUBURBS = 1500
"""Thousands of people added to each city's weight, so that the largest cities do not dominate."""


class Pool(NamedTuple):
    """Values and their weights."""

    values: tuple[str, ...]
    weights: np.ndarray


def mean_zone() -> float:
    """Mean zone of the customers."""
    weights = [city.population + SUBURBS for city in CITIES]
    return sum(w * ZONES[city.state] for w, city in zip(weights, CITIES, strict=True)) / sum(weights)


@lru_cache
def first_names(gender: str) -> Pool:
    """Given names of `female`, `male` or `nonbinary` people."""
    from faker.providers.person.en_US import Provider

    return _pool(getattr(Provider, f"first_names_{gender}"))


@lru_cache
def all_first_names() -> tuple[str, ...]:
    """Given names of all genders, pool by pool."""
    return tuple(name for gender in GENDERS for name in first_names(gender).values)


@lru_cache
def last_names() -> Pool:
    """Family names."""
    from faker.providers.person.en_US import Provider

    return _pool(Provider.last_names)


@lru_cache
def streets() -> Pool:
    """Street names such as 'Oak Street'."""
    from faker.providers.person.en_US import Provider

    trees = ("Oak", "Maple", "Cedar", "Pine", "Elm", "Washington", "Lake", "Hill", "Park", "Main", "Walnut", "Spring")
    names = trees + tuple(Provider.last_names)[:120]
    kinds = {"Street": 5.0, "Avenue": 3.0, "Drive": 2.5, "Lane": 2.0, "Road": 2.0, "Court": 1.0, "Boulevard": 0.5}
    return _pool(
        {f"{name} {kind}": share * (6 if name in trees else 1) for name in names for kind, share in kinds.items()}
    )


def _pool(frequencies: dict[str, float]) -> Pool:
    return Pool(tuple(frequencies), np.array(tuple(frequencies.values()), dtype=np.float64))
