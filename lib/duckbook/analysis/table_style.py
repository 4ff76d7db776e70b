"""Style of all tables in the notebooks, as a display formatter for pandas.

A frame or series at the end of a cell is shown without a default index, with words as headings, right-aligned numbers
with thousands separators, money with cents, shares in per cent, dates as dates, and an en dash for missing values. The
data do not change. A column's name and type decide its format; `table` overrides it. Tables have no colours, so they
are readable on light and dark pages.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from duckbook.analysis.value_style import FORMATS, LEFT_ALIGNED, choose_format, formatter

if TYPE_CHECKING:
    import pandas as pd

GAP = "…"


@dataclass(frozen=True)
class Table:
    """A frame with explicit formats, to end a cell with."""

    frame: pd.DataFrame
    formats: dict[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        return as_html(self.frame, self.formats)

    def __repr__(self) -> str:
        return as_text(self.frame, self.formats)


def table(frame: pd.DataFrame, **formats: str) -> Table:
    """Show a frame with explicit formats for some columns.

    Parameters
    ----------
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
    """Register this style for all frames and series of a notebook."""
    import pandas as pd

    formatters = shell.display_formatter.formatters
    for kind in (pd.DataFrame, pd.Series):
        formatters["text/html"].for_type(kind, as_html)
        formatters["text/plain"].for_type(kind, lambda frame, printer, cycle: printer.text(as_text(frame)))


def as_html(frame: pd.DataFrame | pd.Series, formats: dict[str, str] | None = None) -> str:
    """Render a table as HTML that sanitizers keep: no style sheet, no script, all text escaped."""
    import pandas as pd

    texts = _format(frame, formats or {})
    columns = [
        [_cell(html.escape(text), is_left) for text in column]
        for column, is_left in zip(texts.columns, texts.left, strict=True)
    ]
    headings = [_cell(html.escape(text), is_left) for text, is_left in zip(texts.headings, texts.left, strict=True)]
    cells = pd.DataFrame(list(zip(*columns, strict=True)), columns=headings, dtype=object)
    with pd.option_context("display.max_colwidth", None):
        page = cells.to_html(index=False, escape=False, border=0, show_dimensions=False)
    return page + (f"\n<p>{texts.note}</p>" if texts.note else "")


def as_text(frame: pd.DataFrame | pd.Series, formats: dict[str, str] | None = None) -> str:
    """Render a table as plain text, with the same words."""
    texts = _format(frame, formats or {})
    columns = []
    for heading, column, is_left in zip(texts.headings, texts.columns, texts.left, strict=True):
        cells = [" ".join(text.split()) for text in (heading, *column)]
        width = max(map(len, cells))
        columns.append([text.ljust(width) if is_left else text.rjust(width) for text in cells])
    lines = ["  ".join(row).rstrip() for row in zip_longest(*columns, fillvalue="")]
    return "\n".join([*lines, *([texts.note] if texts.note else [])])


@dataclass(frozen=True)
class _Texts:
    """The texts of a table: headings, columns, whether each column is left-aligned, and a note on omitted rows."""

    headings: list[str]
    columns: list[list[str]]
    left: list[bool]
    note: str


def _format(frame: pd.DataFrame | pd.Series, formats: dict[str, str]) -> _Texts:
    import pandas as pd

    if isinstance(frame, pd.Series):
        frame = frame.to_frame("value" if frame.name is None else frame.name)
    rows, limit = len(frame), pd.get_option("display.max_rows")
    is_cut = bool(limit) and rows > limit
    if is_cut:
        half = (pd.get_option("display.min_rows") or limit) // 2
        frame = pd.concat([frame.head(half), frame.tail(half)])
    parts = [*_index(frame), *((frame.columns[index], frame.iloc[:, index]) for index in range(frame.shape[1]))]
    headings, columns, left = [], [], []
    for name, values in parts:
        chosen = formats.get(name) or choose_format(name, values)
        write = formatter(chosen, values)
        texts = [write(value) for value in values]
        headings.append(_heading(name))
        columns.append([*texts[:half], GAP, *texts[half:]] if is_cut else texts)
        left.append(chosen in LEFT_ALIGNED)
    note = f"{rows:,} rows" if is_cut else "" if rows else "no rows"
    return _Texts(headings, columns, left, note)


def _index(frame: pd.DataFrame) -> list[tuple[Any, pd.Series]]:
    """Index levels worth showing: those with a name, and labels other than row numbers."""
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
    # Jupyter's style sheet right-aligns cells; this attribute passes the sanitizers of Jupyter and GitHub.
    return f'<div align="left">{text}</div>' if is_left and text else text
