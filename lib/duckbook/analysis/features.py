"""Customer feature table: features known by the end of the as-of date, and labels for the 90 days after it.

Features and labels are separate queries over the published marts, `features.sql` and `labels.sql`, and separate files,
so that no feature can use the future. There are labels only if the publication covers the 90 days. `features.yml` is
the data dictionary.
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
"""Days after the as-of date that the labels cover; their column names contain it."""

_HERE = Path(__file__).parent


@cache
def dictionary() -> Dictionary:
    """Load the data dictionary of the current version."""
    import yaml

    return Dictionary(**yaml.safe_load((_HERE / "features.yml").read_text("utf-8")))


def last_labelled(published: Published) -> date:
    """Newest as-of date with complete labels in a publication."""
    return _published_as_of(published) - timedelta(days=LABEL_DAYS)


def resolve(published: Published, as_of: date | str | None) -> date:
    """Parse an as-of date; None means the last day of the publication.

    Raises
    ------
    PublishError
        It is not a date, or it is after the last day of the publication.
    """
    newest = _published_as_of(published)
    try:
        day = newest if as_of is None else as_of if isinstance(as_of, date) else date.fromisoformat(as_of)
    except ValueError:
        raise PublishError(f"as_of={as_of!r} is not a date: write it as YYYY-MM-DD, such as {newest}.") from None
    if day > newest:
        raise PublishError(
            f"The published marts end on {newest}, so there are no features as of {day}: publish newer marts."
        )
    return day


def relation(published: Published, day: date, *, labels: bool) -> duckdb.DuckDBPyRelation:
    """Build the feature table as a lazy relation, ordered by customer_key.

    Parameters
    ----------
    day
        The as-of date.
    labels
        Whether to join the labels.

    Raises
    ------
    PublishError
        `labels` is true and the publication ends before the 90 days after `day`.
    """
    table = published.connection.sql(_sql("features"), params={"as_of": day})
    if not labels:
        return table
    label_table = published.connection.sql(_sql("labels"), params=_label_parameters(published, day))
    names = ", ".join(["features.*", *(f"labels.{name}" for name in dictionary().names("label"))])
    joined = table.set_alias("features").join(label_table.set_alias("labels"), "customer_key")
    return joined.project(names).order("customer_key")


def write(published: Published, folder: Path, as_of: date | str | None = None) -> Path:
    """Write features, labels, dictionary and datasheet of one as-of date.

    Parameters
    ----------
    folder
        Parent folder of all versions of the feature table.
    as_of
        Default: the newest date with complete labels.

    Returns
    -------
    Path
        The folder written, such as ``v2/2026-03-31``. The same marts give the same bytes.

    Raises
    ------
    PublishError
        The publication ends before the as-of date.
    """
    day = last_labelled(published) if as_of is None else resolve(published, as_of)
    columns = dictionary()
    target = folder / f"v{columns.version}" / str(day)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    _copy(published, "features", {"as_of": day}, target, columns.version)
    if day <= last_labelled(published):
        _copy(published, "labels", _label_parameters(published, day), target, columns.version)
    else:
        (target / "labels.parquet").unlink(missing_ok=True)
    (target / "dictionary.md").write_text(datasheet.dictionary_page(columns), "utf-8")
    (target / "datasheet.md").write_text(datasheet.datasheet_page(target, columns, day, published.publication), "utf-8")
    return target


def _label_parameters(published: Published, day: date) -> dict[str, Any]:
    newest, needed = _published_as_of(published), day + timedelta(days=LABEL_DAYS)
    if needed > newest:
        raise PublishError(
            f"Labels of {day} need data until {needed}, and the published marts end on {newest}: "
            f"ask for {last_labelled(published)} or earlier, or load with labels=False."
        )
    return {"as_of": day, "days": LABEL_DAYS}


def _copy(published: Published, query: str, parameters: dict[str, Any], folder: Path, version: int) -> None:
    """Write a query to ``QUERY.parquet`` atomically, with version and as-of date as metadata."""
    temporary = folder / f".{query}.making"
    metadata = f"{{features_version: '{version}', as_of: '{parameters['as_of']}'}}"
    options = f"(format parquet, compression zstd, kv_metadata {metadata})"
    published.connection.execute(f"copy ({_sql(query)}) to {literal(str(temporary))} {options}", parameters)
    temporary.replace(folder / f"{query}.parquet")


def _published_as_of(published: Published) -> date:
    if published.publication.as_of is None:
        raise PublishError("The published marts have no as-of date: run `make pipeline` to publish them again.")
    return date.fromisoformat(published.publication.as_of)


def _sql(name: str) -> str:
    return (_HERE / f"{name}.sql").read_text("utf-8")
