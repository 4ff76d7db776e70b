"""How an exploration begins and ends: whether its parameters leave enough to look at, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from duckbook.errors import DuckbookError

if TYPE_CHECKING:
    from IPython.display import Markdown


def require(found: int, enough: int, what: str, **filters: Any) -> None:
    """Say so below the cell where a pattern cannot be read, and stop where there is nothing at all.

    Parameters
    ----------
    found
        How many there are.
    enough
        From how many on a pattern can be read.
    what
        What is counted, in the plural.
    filters
        The parameters that chose them, by name; None where all were meant.

    Raises
    ------
    DuckbookError
        None is left; the sentence names the parameters to change.
    """
    chosen = ", ".join(f"{name}={value!r}" for name, value in filters.items() if value is not None)
    if not found:
        remedy = f"change {chosen} in the parameters cell" if chosen else "run the pipeline with more customers"
        raise DuckbookError(f"There are no {what}: {remedy}.")
    if found < enough:
        from IPython.display import Markdown, display

        remedy = "Widen the period, or drop a filter." if chosen else "Take more customers."
        display(Markdown(f"**Only {found:,} {what}**: too few to read a pattern from. {remedy}"))


def conclude(lines: Iterable[str]) -> Markdown:
    """What an exploration comes to, as a list.

    Money is told by its code, USD: two dollar signs in a text begin and end a formula in JupyterLab and on GitHub, and
    no way to write them otherwise is read alike by both and by the pages of a run.
    """
    from IPython.display import Markdown

    return Markdown("\n".join(f"- {line}" for line in lines).replace("$", "USD "))
