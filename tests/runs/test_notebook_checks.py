"""Undefined names in notebooks are found before a run, without false alarms."""

import pytest
from duckbook.runs import notebook_checks


def names(*cells: str) -> list[str]:
    return [name for name, _, _ in notebook_checks.undefined_names(cells)]


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["x = 1", "x + y"], ["y"]),
        (["late", "late = 1"], ["late"]),
        (["def use():\n    return late\n", "late = 1"], []),
        (["gone = 1", "del gone", "gone"], ["gone"]),
        (["display(1)", "_, __, In, Out, get_ipython()"], []),
        (["[n for n in range(3)]", "n"], ["n"]),
        (["import pandas as pd", "pd.DataFrame()", "pandas.NA"], ["pandas"]),
        (["await later()"], ["later"]),
    ],
)
def test_cells_are_one_program_in_their_order(cells, found):
    assert names(*cells) == found


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["%%sql orders <<\nselect 1", "orders.head()"], []),
        (["%%sql orders=<<\nselect 1", "orders"], []),
        (["%%sql --with landed orders <<\nselect 1", "orders"], []),
        (["rows = %sql select 1\nrows"], []),
        (["%%sql\nselect {{ limit }}"], ["limit"]),
        (["limit = 5", "%%sql\nselect {{ limit }}, {{ range(3) }}"], []),
        (["for n in range(3):\n    %sql select {{ n }}"], []),
        (["%sql select {{ n }}"], ["n"]),
        (["%%sql\nselect '{% raw %}{{ n }}{% endraw %}'"], []),
    ],
)
def test_sql_defines_its_result_and_uses_template_variables(cells, found):
    assert names(*cells) == found


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["%matplotlib inline", "!ls", "files = !ls", "files", "len?"], []),
        (["%%time\nx = y", "x"], ["y"]),
        (["%time x = 1", "x"], []),
        (["%%capture out\nx = 1", "out, x"], []),
        (["%run helpers.py", "whatever_it_defines"], []),
        (["%timeit -n 3 sorted([])\n%sql late << select 1", "late"], []),
        (["%%time\nrows = %sql select {{ n }}", "rows"], ["n"]),
        (["rows = %sql select 1 \\\n  from x\nrows\nwrong"], ["wrong"]),
        (["%%time\nfor x", "x = 1"], []),
    ],
)
def test_magics_are_understood(cells, found):
    assert names(*cells) == found


def test_an_undefined_name_has_its_cell_and_line():
    assert notebook_checks.undefined_names(["x = 1", "x\nx + wrong\n"]) == [("wrong", 2, 2)]
    assert notebook_checks.undefined_names(["%%time\nx = 1\nwrong"]) == [("wrong", 1, 3)]
