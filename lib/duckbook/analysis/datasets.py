"""Published data in one line: ``duckbook.load("features", as_of="2026-03-31")``.

Reads what is published and nothing else, so that it holds no lock and starts no server.
"""

from __future__ import annotations

import difflib
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, get_args

from duckbook.errors import PublishError, SettingError
from duckbook.settings import Settings, settings

if TYPE_CHECKING:
    import duckdb

FEATURES = "features"

Kind = Literal["pandas", "arrow", "polars"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def load(
    name: str = FEATURES,
    as_of: date | str | None = None,
    *,
    as_: Kind = "pandas",
    labels: bool | None = None,
    store: Settings | None = None,
) -> Any:
    """Load the customer features, or any published mart.

    Parameters
    ----------
    name
        ``features``, or the name of a mart such as ``fct_sales_by_date``.
    as_of
        For features the last day that they know of, None: the last day of the publication. For a mart the as-of date
        of the publication that is taken, None: the current one.
    as_
        ``pandas`` (amounts become floats), ``arrow`` or ``polars`` (amounts stay exact decimals).
    labels
        Whether the labels of the 90 days after `as_of` stand beside the features; None: where there are any.
    store
        Another store than that of the settings.

    Returns
    -------
    pandas.DataFrame, pyarrow.Table or polars.DataFrame

    Raises
    ------
    PublishError
        Nothing has been published, there is no such mart, or the publication does not reach so far.
    SettingError
        `as_` is unknown, or polars is not installed.
    """
    from duckbook.analysis import features
    from duckbook.publish import publisher

    if as_ not in KINDS:
        raise SettingError(f"as_={as_!r} is unknown: say {', '.join(KINDS)}.")

    chosen = store or settings()
    if name == FEATURES:
        with publisher.published(chosen) as published:
            day = features.resolve(published, as_of)
            wanted = day <= features.last_labelled(published) if labels is None else labels
            return _converted(features.relation(published, day, labels=wanted), as_)
    if labels is not None:
        raise SettingError(f"labels={labels} is for {FEATURES} alone: {name} has none.")
    with publisher.published(chosen, None if as_of is None else str(as_of)) as published:
        known = sorted(published.publication.marts)
        if name not in known:
            near = difflib.get_close_matches(name, [FEATURES, *known], n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join([FEATURES, *known])}."
            raise PublishError(f"{name} is not published: {hint}")
        return _converted(published.connection.sql(f"from {publisher.SCHEMA}.{name}"), as_)


def _converted(table: duckdb.DuckDBPyRelation, as_: Kind) -> Any:
    if as_ == "pandas":
        return table.df()
    if as_ == "arrow":
        return table.to_arrow_table()
    try:
        return table.pl()
    except ModuleNotFoundError:
        raise SettingError("as_='polars' needs polars, which comes with `make science`: or say 'arrow'.") from None
