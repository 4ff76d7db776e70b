"""One style for every table of the notebooks, as a display formatter for pandas.

A frame or series that ends a cell is shown as people write tables: no default index, words as headings, numbers to the
right with thousands separators, money with cents, shares in per cent, dates as dates, and an en dash for what is
missing. The values themselves stay as they are. A column's name and type decide its format; `table` overrides it.
Tables bring no colours of their own, so they are read on a light and on a dark page.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from duckbook.analysis.value_style import FORMATS, LEFT, chosen_format, writer

if TYPE_CHECKING:
    import pandas as pd

GAP = "…"


@dataclass(frozen=True)
class Table:
    """A frame with formats of its own, for the end of a cell."""

    frame: pd.DataFrame
    formats: dict[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        return as_html(self.frame, self.formats)

    def __repr__(self) -> str:
        return as_text(self.frame, self.formats)


def table(frame: pd.DataFrame, **formats: str) -> Table:
    """A frame to be shown, with the formats of some columns named.

    Parameters
    ----------
    frame
        What is shown.
    formats
        Column → ``percent``, ``money``, ``count``, ``number``, ``id``, ``date``, ``text``, or a format such as
        ``{:.3f}``.

    Raises
    ------
    ValueError
        A format or a column is unknown.
    """
    for column, name in formats.items():
        if name not in FORMATS and "{" not in name:
            raise ValueError(
                f"The format {name!r} is unknown: there are {', '.join(FORMATS)}, or one such as '{{:.3f}}'."
            )
        if column not in {*frame.columns, *frame.index.names}:
            raise ValueError(
                f"There is no column {column!r} to format: there are {', '.join(map(str, frame.columns))}."
            )
    return Table(frame, formats)


def register(shell: Any) -> None:
    """Show every frame and series of a notebook in this style."""
    import pandas as pd

    formatters = shell.display_formatter.formatters
    for kind in (pd.DataFrame, pd.Series):
        formatters["text/html"].for_type(kind, as_html)
        formatters["text/plain"].for_type(kind, lambda frame, printer, cycle: printer.text(as_text(frame)))


def as_html(frame: pd.DataFrame | pd.Series, formats: dict[str, str] | None = None) -> str:
    """A table as HTML that a sanitizer leaves whole: no style sheet, no script, every text of the data escaped."""
    import pandas as pd

    shown = _shown(frame, formats or {})
    columns = [
        [_cell(html.escape(text), shown.left[place]) for text in column] for place, column in enumerate(shown.columns)
    ]
    headings = [_cell(html.escape(text), shown.left[place]) for place, text in enumerate(shown.headings)]
    cells = pd.DataFrame(list(zip(*columns, strict=True)), columns=headings, dtype=object)
    with pd.option_context("display.max_colwidth", None):
        written = cells.to_html(index=False, escape=False, border=0, show_dimensions=False)
    return written + (f"\n<p>{shown.note}</p>" if shown.note else "")


def as_text(frame: pd.DataFrame | pd.Series, formats: dict[str, str] | None = None) -> str:
    """A table as plain text, in the same words."""
    shown = _shown(frame, formats or {})
    columns = []
    for heading, column, is_left in zip(shown.headings, shown.columns, shown.left, strict=True):
        texts = [" ".join(text.split()) for text in (heading, *column)]
        width = max(map(len, texts))
        columns.append([text.ljust(width) if is_left else text.rjust(width) for text in texts])
    lines = ["  ".join(row).rstrip() for row in zip_longest(*columns, fillvalue="")]
    return "\n".join([*lines, *([shown.note] if shown.note else [])])


@dataclass(frozen=True)
class _Shown:
    """The texts of a table: headings, columns, whether each stands to the left, and what was left out."""

    headings: list[str]
    columns: list[list[str]]
    left: list[bool]
    note: str


def _shown(frame: pd.DataFrame | pd.Series, formats: dict[str, str]) -> _Shown:
    import pandas as pd

    if isinstance(frame, pd.Series):
        frame = frame.to_frame("value" if frame.name is None else frame.name)
    rows, limit = len(frame), pd.get_option("display.max_rows")
    is_cut = bool(limit) and rows > limit
    if is_cut:
        half = (pd.get_option("display.min_rows") or limit) // 2
        frame = pd.concat([frame.head(half), frame.tail(half)])
    parts = [*_index(frame), *((frame.columns[place], frame.iloc[:, place]) for place in range(frame.shape[1]))]
    headings, columns, left = [], [], []
    for name, values in parts:
        chosen = formats.get(name) or chosen_format(name, values)
        write = writer(chosen, values)
        texts = [write(value) for value in values]
        headings.append(_heading(name))
        columns.append([*texts[:half], GAP, *texts[half:]] if is_cut else texts)
        left.append(chosen in LEFT)
    note = f"{rows:,} rows" if is_cut else "" if rows else "no rows"
    return _Shown(headings, columns, left, note)


def _index(frame: pd.DataFrame) -> list[tuple[Any, pd.Series]]:
    """The levels of an index that say something: those with a name, and labels that are more than row numbers."""
    import pandas as pd

    levels = [frame.index.get_level_values(level) for level in range(frame.index.nlevels)]
    return [
        ("" if level.name is None else level.name, level.to_series(index=frame.index))
        for level in levels
        if level.name is not None or not pd.api.types.is_integer_dtype(level)
    ]


def _heading(name: Any) -> str:
    parts = name if isinstance(name, tuple) else (name,)
    return ", ".join(str(part).replace("_", " ").strip() for part in parts if str(part).strip())


def _cell(text: str, is_left: bool) -> str:
    # Jupyter aligns cells to the right by its style sheet; an attribute passes the sanitizers of Jupyter and of GitHub.
    return f'<div align="left">{text}</div>' if is_left and text else text
