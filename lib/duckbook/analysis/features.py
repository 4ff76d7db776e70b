"""The customer feature table: what was known of each customer by the end of a day, and what the days after it brought.

Features and labels are two queries over the published marts, `features.sql` and `labels.sql`, and two files, so that
nothing of the future can slip into a feature. Features count what had happened by the as-of date; labels count the
90 days after it, and are there only where the publication reaches so far. `features.yml` is the dictionary.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duckbook.analysis import datasheet
from duckbook.analysis.datasheet import Dictionary
from duckbook.errors import PublishError
from duckbook.publish.publisher import Published
from duckbook.sql import literal

if TYPE_CHECKING:
    import duckdb

LABEL_DAYS = 90
"""Days after the as-of date that the labels count; the names of their columns say so."""

_HERE = Path(__file__).parent


@cache
def dictionary() -> Dictionary:
    """The dictionary of the current version."""
    import yaml

    return Dictionary(**yaml.safe_load((_HERE / "features.yml").read_text("utf-8")))


def last_labelled(published: Published) -> date:
    """The newest as-of date whose labels are complete in a publication."""
    return _published_as_of(published) - timedelta(days=LABEL_DAYS)


def resolve(published: Published, as_of: date | str | None) -> date:
    """The as-of date that is asked for; None: the publication's own.

    Raises
    ------
    PublishError
        It is no date, or lies after the last day of the publication.
    """
    newest = _published_as_of(published)
    try:
        day = newest if as_of is None else as_of if isinstance(as_of, date) else date.fromisoformat(as_of)
    except ValueError:
        raise PublishError(f"as_of={as_of!r} is no date: write it as YYYY-MM-DD, such as {newest}.") from None
    if day > newest:
        raise PublishError(
            f"The published marts end on {newest}, so there are no features of {day}: publish newer ones."
        )
    return day


def relation(published: Published, day: date, *, labels: bool) -> duckdb.DuckDBPyRelation:
    """The feature table as a query that has not run yet, in the order of customer_key.

    Parameters
    ----------
    day
        The as-of date.
    labels
        Whether the labels stand beside the features.

    Raises
    ------
    PublishError
        Labels are asked for and the publication does not reach 90 days beyond `day`.
    """
    table = published.connection.sql(_sql("features"), params={"as_of": day})
    if not labels:
        return table
    later = published.connection.sql(_sql("labels"), params=_label_parameters(published, day))
    names = ", ".join(["features.*", *(f"labels.{name}" for name in dictionary().names("label"))])
    joined = table.set_alias("features").join(later.set_alias("labels"), "customer_key")
    return joined.project(names).order("customer_key")


def write(published: Published, folder: Path, as_of: date | str | None = None) -> Path:
    """Write features, labels, dictionary and datasheet of one as-of date.

    Parameters
    ----------
    folder
        Where the versions of the feature table stand.
    as_of
        None: the newest date whose labels are complete.

    Returns
    -------
    Path
        The folder that was written, ``v2/2026-03-31``. The same marts give the same bytes.

    Raises
    ------
    PublishError
        The publication does not reach the as-of date.
    """
    day = last_labelled(published) if as_of is None else resolve(published, as_of)
    told = dictionary()
    made = folder / f"v{told.version}" / str(day)
    made.mkdir(mode=0o700, parents=True, exist_ok=True)
    _copy(published, "features", {"as_of": day}, made, told.version)
    if day <= last_labelled(published):
        _copy(published, "labels", _label_parameters(published, day), made, told.version)
    else:
        (made / "labels.parquet").unlink(missing_ok=True)
    (made / "dictionary.md").write_text(datasheet.dictionary_page(told), "utf-8")
    (made / "datasheet.md").write_text(datasheet.datasheet_page(made, told, day, published.publication), "utf-8")
    return made


def _label_parameters(published: Published, day: date) -> dict[str, Any]:
    newest, needed = _published_as_of(published), day + timedelta(days=LABEL_DAYS)
    if needed > newest:
        raise PublishError(
            f"Labels of {day} need data until {needed}, and the published marts end on {newest}: "
            f"ask for {last_labelled(published)} or earlier, or load with labels=False."
        )
    return {"as_of": day, "days": LABEL_DAYS}


def _copy(published: Published, query: str, parameters: dict[str, Any], folder: Path, version: int) -> None:
    """Run a query into ``QUERY.parquet``, which is there whole or not at all and says what it is."""
    making, told = folder / f".{query}.making", f"{{features_version: '{version}', as_of: '{parameters['as_of']}'}}"
    options = f"(format parquet, compression zstd, kv_metadata {told})"
    published.connection.execute(f"copy ({_sql(query)}) to {literal(str(making))} {options}", parameters)
    making.replace(folder / f"{query}.parquet")


def _published_as_of(published: Published) -> date:
    if published.publication.as_of is None:
        raise PublishError("The published marts have no as-of date: run `make pipeline` and publish them anew.")
    return date.fromisoformat(published.publication.as_of)


def _sql(name: str) -> str:
    return (_HERE / f"{name}.sql").read_text("utf-8")
