"""Shipments, deliveries, returns and reviews happen in plausible hours and on plausible days."""

from datetime import date, timedelta

import holidays as calendars
import numpy as np
import pytest
from books import calendar as books_calendar
from duckbook.generate.shop import season
from duckbook.generate.shop.customers import NEVER
from duckbook.generate.shop.places import CITIES
from duckbook.generate.shop.working_days import (
    WAREHOUSE_OFFSET,
    WorkingDays,
    carriers_deliver,
    federal_holiday,
    is_day_off,
    warehouse_works,
)
from shop_slices import simulate

DAY_OF_1970 = date(1970, 1, 1)


def local(second, offset):
    """Days since 1970 and hours of the day."""
    return (second - offset) // season.DAY, (second - offset) % season.DAY // season.HOUR


def dates(days):
    return [DAY_OF_1970 + timedelta(days=int(day)) for day in np.unique(days)]


def test_federal_holidays_are_those_of_2026():
    holidays = [date(2026, 1, 1) + timedelta(days=n) for n in range(365)]
    assert [day.strftime("%m-%d") for day in holidays if federal_holiday(day)] == [
        "01-01", "01-19", "02-16", "05-25", "06-19", "07-04", "09-07", "10-12", "11-11", "11-26", "12-25",
    ]  # fmt: skip


def test_the_holidays_of_the_books_are_those_of_the_calendar():
    years = range(2019, 2031)
    expected = set(calendars.country_holidays("US", years=years, observed=False))
    assert {day for year in years for day in books_calendar.holidays(year)} == expected


def test_the_warehouse_ships_and_takes_returns_in_its_opening_hours():
    shop = simulate(5000)
    plan = shop.fulfilment
    for moments in (plan.shipped, plan.line_returned):
        days, hours = local(moments[moments < NEVER], WAREHOUSE_OFFSET)
        assert set(hours) == set(range(8, 18))
        assert all(warehouse_works(day) for day in dates(days))


def test_carriers_deliver_by_day_in_local_time():
    shop = simulate(5000)
    plan = shop.fulfilment
    here = plan.delivered < NEVER
    city = shop.customers.city(shop.purchases.customer, plan.address_number(slice(None))[1])
    offset = np.array([place.offset for place in CITIES])[city] * season.HOUR
    days, hours = local(plan.delivered[here], offset[here])
    assert set(hours) == set(range(9, 20))
    assert all(carriers_deliver(day) for day in dates(days))
    assert np.isin(hours, range(11, 17)).mean() > 0.6, "most parcels come around midday"
    sent, _ = local(plan.shipped[here], offset[here])
    assert (days > sent).all(), "nothing is delivered on the day on which it is sent"
    due, hour = local(plan.promised[here] - 1, offset[here])
    assert set(hour) == {19} and all(carriers_deliver(day) for day in dates(due))
    assert (plan.late[here] == (days > due)).all()


def test_reviews_are_written_when_the_customer_is_awake():
    shop = simulate(20_000)
    reviews = shop.reviews
    order = shop.baskets.order[reviews.line]
    days, hours = local(reviews.written, shop.customers.offset[shop.purchases.customer[order]])
    assert (reviews.written > shop.fulfilment.delivered[order]).all()
    assert np.isin(hours, range(1, 6)).mean() == pytest.approx(sum(season.HOURS[1:6]) / sum(season.HOURS), abs=0.02)
    off = [is_day_off(DAY_OF_1970 + timedelta(days=int(day))) for day in days]
    assert 0 < sum(off) < 0.5 * 9 / 1096 * len(days)


def test_work_continues_on_the_next_working_day():
    """Ten hours of work per day: from Saturday noon, five hours end at 17 h and seven on Monday."""
    span = season.Span(date(2026, 3, 1), date(2026, 3, 31), date(2026, 4, 30))
    warehouse = WorkingDays(span, warehouse_works)
    noon = season.epoch(date(2026, 3, 7)) + 12 * season.HOUR + WAREHOUSE_OFFSET
    done = warehouse.after(np.array([noon] * 3), np.array([5, 7, 27]) * season.HOUR) - WAREHOUSE_OFFSET
    monday = season.epoch(date(2026, 3, 9))
    assert list(done) == [
        noon - WAREHOUSE_OFFSET + 5 * season.HOUR,
        monday + 9 * season.HOUR,
        monday + 2 * season.DAY + 9 * season.HOUR,
    ]
    sunday = np.array([season.epoch(date(2026, 3, 8)) // season.DAY])
    assert list(warehouse.following(sunday)) == [sunday[0] + 1]
    assert list(warehouse.following(sunday, 6)) == [sunday[0] + 8]
