"""Load published data: ``duckbook.load("features", as_of="2026-03-31")``.

Reads only published files, so it takes no lock and starts no server.
"""

from __future__ import annotations

import difflib
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, get_args

from duckbook.errors import PublishError, SettingError
from duckbook.publish.publication import SCHEMA
from duckbook.settings import Settings
from duckbook.settings import settings as default_settings

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
    settings: Settings | None = None,
) -> Any:
    """Load the customer features or a published mart.

    Parameters
    ----------
    name
        ``features``, or the name of a mart such as ``fct_sales_by_date``.
    as_of
        For features, the last day of data they use (default: the last day of the publication). For a mart, the as-of
        date of the publication to read (default: the current one).
    as_
        ``pandas`` (amounts become floats), ``arrow`` or ``polars`` (amounts stay exact decimals).
    labels
        Whether to join the labels of the 90 days after `as_of` to the features. Default: if they are complete.
    settings
        Settings of the data folder to read. Default: those of the environment.

    Returns
    -------
    pandas.DataFrame, pyarrow.Table or polars.DataFrame

    Raises
    ------
    PublishError
        Nothing has been published, the mart does not exist, or the publication ends before `as_of`.
    SettingError
        `as_` is unknown, or polars is not installed.
    """
    from duckbook.analysis import features
    from duckbook.publish import publisher

    if as_ not in KINDS:
        raise SettingError(f"as_={as_!r} is unknown: use {', '.join(KINDS)}.")

    settings = settings or default_settings()
    if name == FEATURES:
        with publisher.published(settings) as published:
            day = features.resolve(published, as_of)
            with_labels = day <= features.last_labelled(published) if labels is None else labels
            return _convert(features.relation(published, day, labels=with_labels), as_)
    if labels is not None:
        raise SettingError(f"labels={labels} applies only to {FEATURES}: {name} has no labels.")
    with publisher.published(settings, None if as_of is None else str(as_of)) as published:
        marts = sorted(published.publication.marts)
        if name not in marts:
            similar = difflib.get_close_matches(name, [FEATURES, *marts], n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join([FEATURES, *marts])}."
            raise PublishError(f"{name} is not published: {hint}")
        return _convert(published.connection.sql(f"from {SCHEMA}.{name}"), as_)


def _convert(table: duckdb.DuckDBPyRelation, as_: Kind) -> Any:
    if as_ == "pandas":
        return table.df()
    if as_ == "arrow":
        return table.to_arrow_table()
    try:
        return table.pl()
    except ModuleNotFoundError:
        raise SettingError("as_='polars' needs polars: run `make science` once, or use as_='arrow'.") from None
