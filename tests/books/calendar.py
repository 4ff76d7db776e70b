"""Days with their names, weeks, months, and holidays of the United States."""

from __future__ import annotations

from datetime import date, timedelta

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip

FIXED = {
    (1, 1): "New Year's Day", (6, 19): "Juneteenth National Independence Day", (7, 4): "Independence Day",
    (11, 11): "Veterans Day", (12, 25): "Christmas Day",
}  # fmt: skip


def holidays(year: int) -> dict[date, str]:
    """Federal holidays on the day that the law names, without the days that stand in for them at weekends."""
    found = {date(year, month, number): name for (month, number), name in FIXED.items()}
    if year < 2021:
        del found[date(year, 6, 19)]
    return found | {
        weekday(year, 1, 0, 3): "Martin Luther King Jr. Day",
        weekday(year, 2, 0, 3): "Washington's Birthday",
        weekday(year, 6, 0, 1) - timedelta(7): "Memorial Day",
        weekday(year, 9, 0, 1): "Labor Day",
        weekday(year, 10, 0, 2): "Columbus Day",
        thanksgiving(year): "Thanksgiving Day",
    }


def weekday(year: int, month: int, of_week: int, nth: int) -> date:
    """The nth Monday (0), Tuesday (1) and so on of a month."""
    first = date(year, month, 1)
    return first + timedelta((of_week - first.weekday()) % 7 + 7 * (nth - 1))


def thanksgiving(year: int) -> date:
    """The fourth Thursday of November."""
    return weekday(year, 11, 3, 4)


def shopping_day(day: date) -> str | None:
    """The Friday after Thanksgiving, and the Monday after that."""
    after = (day - thanksgiving(day.year)).days
    return {1: "Black Friday", 4: "Cyber Monday"}.get(after)


def described(day: date | None) -> dict:
    """A day as dim_dates has it; None is the member for days that are not known."""
    if day is None:
        empty = ("date_day", "day_of_week", "day_of_month", "day_of_year", "week_start", "week_of_year", "month_start",
                 "month_of_year", "quarter_start", "quarter_of_year", "calendar_year", "holiday_name",
                 "shopping_day_name")  # fmt: skip
        named = {"date_key": 0, "day_name": "unknown", "month_name": "unknown", "is_unknown": True}
        return dict.fromkeys(empty) | named | {"is_weekend": False, "is_holiday": False}
    quarter = (day.month + 2) // 3
    holiday = holidays(day.year).get(day)
    return {
        "date_key": day.year * 10_000 + day.month * 100 + day.day,
        "date_day": day,
        "day_of_week": day.isoweekday(),
        "day_name": DAYS[day.weekday()],
        "day_of_month": day.day,
        "day_of_year": (day - date(day.year, 1, 1)).days + 1,
        "week_start": day - timedelta(day.weekday()),
        "week_of_year": day.isocalendar().week,
        "month_start": day.replace(day=1),
        "month_of_year": day.month,
        "month_name": MONTHS[day.month - 1],
        "quarter_start": date(day.year, 3 * quarter - 2, 1),
        "quarter_of_year": quarter,
        "calendar_year": day.year,
        "is_weekend": day.weekday() >= 5,
        "is_holiday": holiday is not None,
        "holiday_name": holiday,
        "shopping_day_name": shopping_day(day),
        "is_unknown": False,
    }
