"""Mentions of a person to erase in the spellings of sources, and texts that do not mention them."""

from __future__ import annotations

import duckdb
import pytest
from duckbook.ingest.mentions import E_MAIL, FIELD, Mention, People, words

ADDRESS = "9 Analytical Row, London, LN 10001"

PEOPLE = People(
    ids=frozenset({"7"}),
    texts=frozenset({"zoe@example.org", ADDRESS, "zoë@exämple.org"}),
    shared=frozenset({"family@example.org"}),
    names=frozenset({("Zoë", "Weiß")}),
)

CERTAIN = [
    '{"order_id": 1, "customer_id": "7", "shipping_add',
    '{"order_id": 1, "customer_id": 7.0, "shipping_add',
    '{"CUSTOMER_ID" : "007"',
    '{"customerId":7,',
    "{'customer_id': '7'}",
    r"{\"customer_id\": \"7\"}",
    "<customer_id>7</customer_id>",
    "1,ZOE@EXAMPLE.ORG,x",
    r'{"email": "zoe\u0040example.org"',
    "zoe%40example.org",
    "zoe&#64;example.org.",
    "ZOË@EXÄMPLE.ORG",
    r'{"email": "zo\u00eb@ex\u00e4mple.org"',
    r"zo\xeb@ex\xe4mple.org",
    r"zo\xc3\xab@ex\xc3\xa4mple.org",
    "zoÃ«@exÃ¤mple.org",
    '{"a": "9 ANALYTICAL ROW\tlondon; ln 10001"}',
    f"1;2;{ADDRESS}",
]

DOUBTFUL = [
    '{"first_name": "Zoë", "last_name": "Weiß"',
    '{"first_name": "ZOE", "last_name": "WEISS"',
    r'{"first_name": "Zo\u00eb", "last_name": "Wei\u00df"',
    "Weiss, Zoe",
    '{"email": "zoe@exam',
    "zoe (at) example dot org",
    "zoe+news@example.org",
    "family@example.org",
    "7;2026-06-30;12.00",
    '{"customer_id": "8", "email": "zoe@example.org"',
]

NOBODY = [
    '{"order_id": 7, "customer_id": "70"',
    '{"product_id": 7, "quantity": 7, "customer_id": null',
    "xzoe@example.org",
    "zoe@example.org.uk",
    '{"customer_id": "8", "first_name": "Zoë", "last_name": "Weiß"',
    "Zoe and Mr. White",
    "19 Analytical Row, London, LN 10001",
    "",
]


@pytest.mark.parametrize("text", CERTAIN)
def test_other_spellings_are_certain_mentions(text):
    mention = PEOPLE.in_line(text)
    assert mention is not None and mention.certain


@pytest.mark.parametrize("text", DOUBTFUL)
def test_values_that_others_may_share_are_doubtful_mentions(text):
    mention = PEOPLE.in_line(text)
    assert mention is not None and not mention.certain


@pytest.mark.parametrize("text", NOBODY)
def test_other_people_are_not_mentions(text):
    assert PEOPLE.in_line(text) is None


def test_the_sql_filter_misses_no_mention():
    texts = [text for text in CERTAIN + DOUBTFUL if PEOPLE.in_text(text)]
    with duckdb.connect() as connection:
        for text in texts:
            assert connection.execute(
                f"select {PEOPLE.may_be_in('text')} from (select ? as text)", [text]
            ).fetchone() == (True,), text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("by zoe@example.org, 1", "by ***, 1"),
        ("xzoe@example.org", "xzoe@example.org"),
        ("<td>Zoë</td>\n  <td>Weiß</td>", "<td>***</td>"),
        (r"9 Analytical Row,\nLondon, LN 10001\n", r"***\n"),
        (r"zo\u00eb wei\u00df", "***"),
        ("Weiß, Zo&euml;!", "***!"),
        ("Zoë and others", "Zoë and others"),
    ],
)
def test_details_are_masked_as_pages_and_notebooks_write_them(text, masked):
    assert PEOPLE.pattern().sub("***", text) == masked


def test_words_ignore_case_accents_and_punctuation():
    assert words("ÉTÉ – Straße_9") == words("ete strasse 9") == "ete strasse 9"
    assert E_MAIL.findall('<a href="mailto:a.b@c.de">') == ["a.b@c.de"]
    assert Mention(True, "x").certain


def test_long_lines_are_searched_in_linear_time():
    """Quadratic patterns would take hours."""
    assert E_MAIL.search("x" * 1_000_000) is None
    assert FIELD.search('"' + " " * 100_000 + "x;") is None
