"""Parsing of addresses from several countries: unambiguous parts are read, and nothing is guessed."""

from __future__ import annotations

import csv

import duckdb
import pytest
import rendered
from duckbook.settings import ROOT

CUSTOMERS = [
    ("b", "Berlin", None, "Germany"),
    ("p", "Portland", "ME", "United States"),
    ("q", "Paris", "TX", "United States"),
    ("r", "Paris", None, "France"),
    ("s", "Paris", None, "France"),
    ("f", None, None, "France"),
]
"""Customers: id, city, state, country."""

US, UK, CA, BR, DE, FR = "United States", "United Kingdom", "Canada", "Brazil", "Germany", "France"

ADDRESSES = {
    # The United States, with and without the name of the country.
    "12 Main St, Springfield, IL 62701": ("Springfield", "IL", "62701", US),
    "12 Main St, Springfield, IL 62701, USA": ("Springfield", "IL", "62701", US),
    "12 Main St, Springfield, IL 62701-1234 U.S.A.": ("Springfield", "IL", "62701-1234", US),
    "12 Main St, Springfield, IL, United States of America": ("Springfield", "IL", None, US),
    "12 Main St, Springfield, Illinois 62701, US": ("Springfield", "IL", "62701", US),
    "12 Main St, Los Angeles, California": ("Los Angeles", "CA", None, US),
    "12 Main St, Los Angeles, CA": ("Los Angeles", "CA", None, US),
    "12 Main St, Portland OR": ("Portland", "OR", None, US),
    "12 Main St, Santa Fe, New Mexico": ("Santa Fe", "NM", None, US),
    "12 Main St, Atlanta, Georgia": ("Atlanta", "GA", None, US),
    "1 Main St, Suite 1200, IL": (None, "IL", None, US),
    "1 Broadway, New York, New York 10004": ("New York", "NY", "10004", US),
    "1 Broadway, New York": ("New York", None, None, None),
    "1 Calle Sol, San Juan, Puerto Rico": ("San Juan", "PR", None, US),
    "USA": (None, None, None, US),
    # Canada, Australia, Brazil, India and Mexico have provinces, by code or by name.
    "123 Queen St W, Toronto, ON M5H 2N2, Canada": ("Toronto", "ON", "M5H 2N2", CA),
    "123 Queen St W, Toronto, ON M5H 2N2, CA": ("Toronto", "ON", "M5H 2N2", CA),
    "123 Queen St W, Toronto ON M5H 2N2": ("Toronto", "ON", "M5H 2N2", CA),
    "123 Queen St W, Toronto, Ontario, Canada": ("Toronto", "ON", None, CA),
    "1 George St, Sydney NSW 2000, Australia": ("Sydney", "NSW", "2000", "Australia"),
    "1 George St, Sydney, New South Wales 2000, AU": ("Sydney", "NSW", "2000", "Australia"),
    "Rua Augusta 12, Consolação, São Paulo - SP, 01310-100, Brasil": ("São Paulo", "SP", "01310-100", BR),
    "Rua Bocaiúva 9, Florianópolis, SC, Brazil": ("Florianópolis", "SC", None, BR),
    "Rua Bocaiúva 9, Florianópolis, SC 88010-000": ("Florianópolis", "SC", "88010-000", BR),
    "Rua Bocaiúva 9, Florianópolis, Santa Catarina, BRA": ("Florianópolis", "SC", None, BR),
    "5 MG Road, Mumbai, Maharashtra 400001, India": ("Mumbai", "MH", "400001", "India"),
    "Av. Juárez 1, Guadalajara, Jalisco 44100, México": ("Guadalajara", "JAL", "44100", "Mexico"),
    # Other countries have none.
    "10 Downing St, London SW1A 2AA, United Kingdom": ("London", None, "SW1A 2AA", UK),
    "10 Downing St, London, SW1A 2AA, Great Britain": ("London", None, "SW1A 2AA", UK),
    "10 Downing St, London SW1A 2AA": ("London", None, "SW1A 2AA", UK),
    "1 High St, Chelsea, London SW3 4AA, England": ("London", None, "SW3 4AA", UK),
    "Unter den Linden 1, 10117 Berlin, Germany": ("Berlin", None, "10117", DE),
    "Unter den Linden 1\n10117 Berlin\nDeutschland": ("Berlin", None, "10117", DE),
    "Unter den Linden 1, 10117 Berlin, DE": ("Berlin", None, "10117", DE),
    "Damrak 1, 1012 LG Amsterdam, The Netherlands": ("Amsterdam", None, "1012 LG", "Netherlands"),
    "1 Rue de Rivoli, 75001 Paris, FRANCE": ("Paris", None, "75001", FR),
    "Via Roma 1, 20121 Milano MI, Italia": ("Milano", "MI", "20121", "Italy"),
    "Drottninggatan 1, 111 22 Stockholm, Sweden": ("Stockholm", None, "111 22", "Sweden"),
    "4-2-8 Shibakoen, Minato-ku, Tokyo 105-0011, Japan": ("Tokyo", None, "105-0011", "Japan"),
    "10 Orchard Rd, Singapore 238823, Singapore": ("Singapore", None, "238823", "Singapore"),
    # The country is that of the customers who live in the city, else of those who order to the address.
    "Unter den Linden 1, 10117 Berlin": ("Berlin", None, "10117", DE),
    "1 Congress St, Portland, ME 04101": ("Portland", "ME", "04101", US),
    "1 Lamar Ave, Paris, TX": ("Paris", "TX", None, US),
    "1 Rue Mazarine, Paris": ("Paris", None, None, FR),
    "1 Rue de la Paix, Nevers": ("Nevers", None, None, FR),
    # No place.
    "12 Main St": (None, None, None, None),
    "12 Jordan St, Apt 4": (None, None, None, None),
    "12 Main St, Apt B": (None, None, None, None),
}
"""Address → city, state, postal code, country."""

ORDERS_TO = {"1 Rue de la Paix, Nevers": "f", "12 Main St": "f", "1 Lamar Ave, Paris, TX": "f"}
"""Address → the customer who orders to it."""


@pytest.fixture(scope="module")
def read() -> dict[str, tuple]:
    """Address → the parts that int_addresses reads from it."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("create schema ecom_staging")
        connection.execute(
            "create table ecom_staging.stg_customers (customer_id text, city text, state text, country text)"
        )
        connection.executemany("insert into ecom_staging.stg_customers values (?, ?, ?, ?)", CUSTOMERS)
        columns = "customer_id text, shipping_address text, billing_address text"
        connection.execute(f"create table ecom_staging.stg_orders ({columns})")
        orders = [(ORDERS_TO.get(address), address) for address in ADDRESSES]
        connection.executemany("insert into ecom_staging.stg_orders values (?, ?, null)", orders)
        wanted = "address, city, state, postal_code, country"
        found = connection.execute(f"select {wanted} from ({rendered.model('int_addresses')})").fetchall()
    return {address: tuple(parts) for address, *parts in found}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_read_as_its_country_writes_it(address, read):
    assert read[address] == ADDRESSES[address]


@pytest.mark.parametrize(
    ("state", "country", "known_as"),
    [
        ("California", US, "CA"),
        ("NEW  YORK", US, "NY"),
        ("ca", US, "CA"),
        ("california", None, "CA"),
        ("Ontario", CA, "ON"),
        ("São Paulo", BR, "SP"),
        ("Santa Catarina", US, "SANTA CATARINA"),
        ("Bayern", DE, "BAYERN"),
        ("California", DE, "CALIFORNIA"),
        (" ", US, None),
        (None, US, None),
    ],
)
def test_a_state_that_is_written_out_has_the_code_of_its_country(state, country, known_as):
    query = (
        f"select {rendered.macro('as_state', 'state', 'country')} from (select $1::text as state, $2::text as country)"
    )
    assert duckdb.execute(query, [state, country]).fetchone()[0] == known_as


def test_the_names_of_american_states_are_those_of_the_seed():
    with (ROOT / "dbt" / "seeds" / "us_states.csv").open(encoding="utf-8") as file:
        seed = {row["state_name"].lower().replace(".", ""): row["state"] for row in csv.DictReader(file)}
    known = duckdb.execute(f"select unnest(map_entries({rendered.macro('states')}))").fetchall()
    country = "united states|"
    named = {
        entry["key"].removeprefix(country): entry["value"] for (entry,) in known if entry["key"].startswith(country)
    }
    assert named == seed | {code.lower(): code for code in seed.values()}
