"""Invariants of every order, line, event and review of the shop, to the cent and to the second."""

from collections import Counter, defaultdict
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from duckbook.generate.shop.baskets import share_out
from hypothesis import given
from hypothesis import strategies as st
from shop_slices import FIRST_AS_OF, newest, piece, simulate


@pytest.fixture(scope="module")
def rows():
    """Every table of a shop with 400 customers, as lists of rows."""
    shop = simulate(until=FIRST_AS_OF)
    tables = (
        "customers",
        "products",
        "orders",
        "order_items",
        "reviews",
        "interactions",
        "categories",
        "subcategories",
    )
    return {table: piece(shop, table, shop.whole).to_pylist() for table in tables}


@given(
    st.lists(
        st.tuples(st.integers(0, 10**7), st.lists(st.integers(1, 10**6), min_size=1, max_size=7)),
        min_size=1,
        max_size=20,
    )
)
def test_shares_add_up_and_are_within_a_cent_of_their_proportion(groups):
    amount = np.array([amount for amount, _ in groups])
    weight = np.array([weight for _, weights in groups for weight in weights])
    begin = np.cumsum([0] + [len(weights) for _, weights in groups])
    shares = share_out(amount, weight, begin)
    for n, (total, weights) in enumerate(groups):
        own = shares[begin[n] : begin[n + 1]]
        assert own.sum() == total
        assert all(abs(share - total * w / sum(weights)) < 1 for share, w in zip(own.tolist(), weights, strict=True))


def test_a_line_costs_quantity_times_unit_price(rows):
    assert all(line["total_price"] == line["quantity"] * line["unit_price"] for line in rows["order_items"])


def test_an_order_costs_its_lines_less_discount_plus_shipping(rows):
    goods, discount = defaultdict(Decimal), defaultdict(Decimal)
    for line in rows["order_items"]:
        goods[line["order_id"]] += line["total_price"]
        discount[line["order_id"]] += line["discount_amount"]
    assert set(goods) == {order["order_id"] for order in rows["orders"]}
    for order in rows["orders"]:
        number = order["order_id"]
        assert order["discount_amount"] == discount[number]
        assert order["total_amount"] == goods[number] - order["discount_amount"] + order["shipping_cost"]
        assert order["total_amount"] > 0


def test_a_refund_is_what_was_paid_for_the_line(rows):
    back = [line for line in rows["order_items"] if line["returned_at"]]
    assert back
    assert all(line["refund_amount"] == line["total_price"] - line["discount_amount"] for line in back)
    assert all(line["refund_amount"] is None for line in rows["order_items"] if not line["returned_at"])


def test_line_numbers_run_from_one_within_each_order(rows):
    lines = defaultdict(list)
    for line in rows["order_items"]:
        lines[line["order_id"]].append(line["order_item_id"])
    assert all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in lines.values())


def test_no_order_is_older_than_its_customer_or_its_products(rows):
    signup = {customer["customer_id"]: customer["signup_date"] for customer in rows["customers"]}
    launch = {product["product_id"]: product["created_at"] for product in rows["products"]}
    placed = {order["order_id"]: order["order_date"] for order in rows["orders"]}
    assert all(order["order_date"] > signup[order["customer_id"]] for order in rows["orders"])
    assert all(line["created_at"] == placed[line["order_id"]] for line in rows["order_items"])
    assert all(line["created_at"] > launch[line["product_id"]] for line in rows["order_items"])


def test_order_ids_follow_the_time_and_have_no_gap(rows):
    orders = sorted(rows["orders"], key=lambda order: order["order_id"])
    assert [order["order_id"] for order in orders] == list(range(1, len(orders) + 1))
    assert all(one["order_date"] <= other["order_date"] for one, other in pairwise(orders))


def test_an_order_moves_on_in_order(rows):
    for order in rows["orders"]:
        steps = [order["order_date"], order["shipped_at"], order["delivered_at"]]
        reached = [step for step in steps if step]
        assert reached == sorted(reached) and order["updated_at"] >= reached[-1]
        assert (order["status"] in ("delivered", "returned")) == bool(order["delivered_at"])
        if order["status"] == "cancelled":
            assert order["shipped_at"] is None
    assert {order["status"] for order in rows["orders"]} >= {"shipped", "delivered", "cancelled", "returned"}


def test_an_order_is_returned_once_all_of_its_lines_are(rows):
    lines = defaultdict(list)
    for line in rows["order_items"]:
        lines[line["order_id"]].append(line["returned_at"])
    for order in rows["orders"]:
        assert (order["status"] == "returned") == all(lines[order["order_id"]])


def test_the_status_of_an_order_never_goes_back():
    rank = {"pending": 0, "processing": 1, "shipped": 2, "delivered": 3, "cancelled": 3, "returned": 4}
    end = simulate().until
    before = {}
    for day in range(1, 30, 4):
        shop = simulate(until=end + timedelta(days=day))
        now = newest([piece(shop, "orders", shop.whole)], ("order_id",))
        for key, order in before.items():
            assert rank[now[key]["status"]] >= rank[order["status"]]
            assert now[key]["updated_at"] >= order["updated_at"]
            assert (now[key] == order) == (now[key]["updated_at"] == order["updated_at"])
        before = now


def test_every_purchase_event_is_a_line_and_every_order_ends_one_session(rows):
    lines = {(line["order_id"], line["order_item_id"]): line for line in rows["order_items"]}
    placed = {order["order_id"]: order for order in rows["orders"]}
    bought = [event for event in rows["interactions"] if event["event_type"] == "purchase"]
    assert Counter((event["order_id"], event["order_item_id"]) for event in bought) == Counter(list(lines))
    sessions = defaultdict(set)
    for event in bought:
        order = placed[event["order_id"]]
        assert event["product_id"] == lines[event["order_id"], event["order_item_id"]]["product_id"]
        assert event["event_date"] == order["order_date"]
        assert event["customer_id"] == order["customer_id"]
        sessions[event["order_id"]].add(event["session_id"])
    assert set(sessions) == set(placed)
    assert all(len(found) == 1 for found in sessions.values())


def test_an_event_has_a_product_unless_it_is_a_search(rows):
    for event in rows["interactions"]:
        assert (event["product_id"] is None) == (event["event_type"] == "search")
        assert (event["order_id"] is None) == (event["event_type"] != "purchase")


def test_the_events_of_a_session_come_in_the_order_of_their_ids(rows):
    sessions = defaultdict(list)
    for event in sorted(rows["interactions"], key=lambda event: event["event_id"]):
        sessions[event["session_id"]].append(event)
    for events in sessions.values():
        moments = [event["event_date"] for event in events]
        assert moments == sorted(moments)
        assert moments[-1] - moments[0] < timedelta(hours=2)
        carts = Counter()
        for event in events:
            carts[event["product_id"]] += {"cart_add": 1, "cart_remove": -1}.get(event["event_type"], 0)
            assert carts[event["product_id"]] >= 0
            assert event["event_type"] != "purchase" or carts[event["product_id"]] > 0


def test_event_ids_and_review_ids_are_unique(rows):
    for table, key in (("interactions", "event_id"), ("reviews", "review_id")):
        assert len({row[key] for row in rows[table]}) == len(rows[table])


def test_a_session_belongs_to_one_customer_and_one_device(rows):
    owners = defaultdict(set)
    for event in rows["interactions"]:
        owners[event["session_id"]].add((event["customer_id"], event["device_type"]))
    assert all(len(found) == 1 for found in owners.values())


def test_nobody_acts_before_signing_up_or_after_the_last_login(rows):
    people = {customer["customer_id"]: customer for customer in rows["customers"]}
    opened = defaultdict(lambda: None)
    for event in rows["interactions"]:
        person = people[event["customer_id"]]
        first = opened[event["session_id"]]
        opened[event["session_id"]] = min(first or event["event_date"], event["event_date"])
        assert event["event_date"] >= person["signup_date"]
    for event in rows["interactions"]:
        assert opened[event["session_id"]] <= people[event["customer_id"]]["last_login"]


def test_reviews_are_of_delivered_lines_of_the_customer_who_writes(rows):
    orders = {order["order_id"]: order for order in rows["orders"]}
    lines = {(line["order_id"], line["product_id"]) for line in rows["order_items"]}
    assert len(rows["reviews"]) > 30
    for review in rows["reviews"]:
        order = orders[review["order_id"]]
        assert (review["order_id"], review["product_id"]) in lines
        assert review["customer_id"] == order["customer_id"]
        assert review["created_at"] > order["delivered_at"]
        assert 1 <= review["review_score"] <= 5


def test_product_ratings_match_the_reviews(rows):
    scores = defaultdict(list)
    for review in rows["reviews"]:
        scores[review["product_id"]].append(review["review_score"])
    newest = sorted(rows["products"], key=lambda product: product["updated_at"])
    for product in {product["product_id"]: product for product in newest}.values():
        own = scores[product["product_id"]]
        assert product["review_count"] == len(own)
        assert product["rating"] == (
            None if not own else pytest.approx(Decimal(sum(own)) / len(own), abs=Decimal("0.005"))
        )


def test_every_product_and_subcategory_has_its_parent(rows):
    categories = {row["category_id"] for row in rows["categories"]}
    subcategories = {row["subcategory_id"]: row["category_id"] for row in rows["subcategories"]}
    assert set(subcategories.values()) == categories
    assert all(subcategories[product["subcategory_id"]] == product["category_id"] for product in rows["products"])
