"""Where customers live and orders go: addresses taken apart, and places with one spelling each."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from duckbook.transform import dbt_runner

Place = tuple[str | None, str | None, str | None]
"""City, state and country."""

NOWHERE: Place = (None, None, None)
HOME_COUNTRY = "United States"
STATED = {
    "usa": HOME_COUNTRY,
    "brazil": "Brazil",
    "germany": "Germany",
    "deutschland": "Germany",
    "uk": "United Kingdom",
}
"""How the addresses of the books write a country at their end."""

_TAIL = re.compile(r"(?:(?P<city>.*?)\s+)?(?P<state>[A-Za-z]{2})\s+(?P<code>\d{5}(?:-\d{4})?)")


def stated_place(address: str | None) -> Place:
    """The city, state and country of "street, city, ST zip, country", with parts missing; a street alone has none.

    A line break separates as a comma does; the city may stand in the last part; a city has no digit.
    """
    parts = [part for part in (one.strip(" ") for one in re.split(r"[,\r\n]", address or "")) if part]
    country = STATED.get(parts[-1].lower()) if parts else None
    if country:
        parts = parts[:-1]
    if not parts:
        return None, None, country
    if tail := _TAIL.fullmatch(parts[-1]):
        before = parts[-2] if len(parts) > 2 else None
        return tail["city"] or before, tail["state"].upper(), country
    if re.search(r"\d", parts[-1]) or (len(parts) == 1 and not country):
        return None, None, country
    names = {name.lower(): code for code, (name, _) in states().items()} if country in (None, HOME_COUNTRY) else {}
    state = names.get(parts[-1].lower()) or (parts[-1] if country and re.fullmatch("[A-Z]{2}", parts[-1]) else None)
    return (parts[-2] if len(parts) > 2 else None, state, country) if state else (parts[-1], None, country)


class Places:
    """The places of a shop.

    Parameters
    ----------
    current, versions
        Customers as they are, and all their versions: where customers lived once is a place too.
    orders
        Orders, with their shipping and billing addresses.
    """

    def __init__(self, current: Iterable[dict], versions: list[dict], orders: Iterable[dict]) -> None:
        countries: dict[tuple, Counter] = defaultdict(Counter)
        orderers: dict[str, Counter] = defaultdict(Counter)
        country_of_customer = {}
        for customer in current:
            city, state, country = self.of_customer(customer)
            if country:
                country_of_customer[customer["customer_id"]] = country.lower()
            if city and country:
                for one in {state, None}:
                    countries[city.lower(), one][country.lower()] += 1
        addresses = set()
        for order in orders:
            named = {order["shipping_address"], order["billing_address"]}
            addresses |= named
            if country := country_of_customer.get(order["customer_id"]):
                for address in named - {None}:
                    orderers[address][country] += 1
        self._countries = {place: _most(found, HOME_COUNTRY.lower()) for place, found in countries.items()}
        self._orderers = {address: _most(found, HOME_COUNTRY.lower()) for address, found in orderers.items()}
        written = [self.of_customer(version) for version in versions] + [
            self.of_address(address) for address in addresses
        ]
        names: dict[str, Counter] = defaultdict(Counter)
        # A country that an address does not state is spelt by customers.
        for country in [version["country"] for version in versions] + [stated_place(one)[2] for one in addresses]:
            if country:
                names[country.lower()][country] += 1
        spelt: dict[Place, Counter] = defaultdict(Counter)
        for city, state, country in written:
            if (city, state, country) != NOWHERE:
                spelt[_folded((city, state, country))][city] += 1
        country_of = {folded: _most(found) for folded, found in names.items()}
        self._spelling = {
            (city, state, country): (
                _most(found),
                state and state.upper(),
                country and country_of.get(country, HOME_COUNTRY),
            )
            for (city, state, country), found in spelt.items()
        }

    @property
    def all(self) -> list[Place]:
        """Each place once, told apart in any case, and shown as most customers and addresses write it."""
        return list(self._spelling.values())

    def of_customer(self, customer: dict) -> Place:
        """Where a customer lives, as the record writes it."""
        return customer["city"], customer["state"], customer["country"]

    def of_address(self, address: str | None) -> Place:
        """Where an order goes, as its address writes it.

        The country is the one that it states, else that of most customers in its city and state, else the home country
        if it has a state of it, else that of most customers who order to it.
        """
        city, state, country = stated_place(address)
        if country or (city, state) == (None, None):
            return city, state, country
        known = self._countries.get(((city or "").lower(), state))
        return city, state, known or (HOME_COUNTRY if state in states() else self._orderers.get(address))

    def of_order(self, address: str | None, customer: dict | None) -> Place:
        """The place that the address names; where it names none, where the customer lived at the time of the order.

        An address of the customer's country, without more, names no place.
        """
        place = self.of_address(address)
        home = self.of_customer(customer) if customer else NOWHERE
        if place[:2] == (None, None) and (place[2] or "").lower() in ("", (home[2] or "").lower()):
            place = home
        return self.spelling(place)

    def spelling(self, place: Place) -> Place:
        """A place as dim_locations writes it."""
        return self._spelling.get(_folded(place), NOWHERE)


def _most(found: Counter, first: str | None = None) -> str | None:
    """What is found most often; of as many, `first`, else the first in the alphabet."""
    return min(found, key=lambda one: (-found[one], one != first, one or ""))


def _folded(place: Place) -> Place:
    return tuple(part and part.lower() for part in place)


@cache
def states() -> dict[str, tuple[str, str]]:
    """Two letters → the name of the state and its census region."""
    with Path(dbt_runner.PROJECT, "seeds", "us_states.csv").open(encoding="utf-8") as file:
        return {row["state"]: (row["state_name"], row["region"]) for row in csv.DictReader(file)}


def shown(place: Place) -> dict[str, str]:
    """A place as a mart shows it: what is not known is called unknown; a state is of the United States only."""
    city, state, country = place
    name, region = (None, None)
    if country == HOME_COUNTRY:
        name, region = states().get(state, (None, None))
    return {
        "city": city or "unknown",
        "state": state or "unknown",
        "state_name": name or state or "unknown",
        "region": region or "unknown",
        "country": country or "unknown",
    }
