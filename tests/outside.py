"""Three shops after public formats, made here row by row, and the programs that map them to our tables.

- `online_retail`: one flat file of invoice lines, as the Online Retail data of the UCI Machine Learning Repository:
  credit notes with negative quantities, a quarter of the customers missing, one country before all others.
- `olist`: the tables of Olist's Brazilian marketplace: several times of an order, freight by item, payments, reviews,
  states of Brazil, categories in Portuguese, no visits.
- `shopify`: an export of orders with their lines: statuses of its own, guests, addresses of several countries, a year.

No row is taken from anywhere: shapes and columns are those of the formats, values are drawn. Each shop gives the rows
of our tables by name, as a person's own program would from their files; `land` puts them where docs/landing.md says.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
import postgres_servers
from psycopg2.extras import execute_values

Tables = dict[str, list[dict[str, Any]]]

IN_POSTGRES = {
    "categories": "category_id text, category_name text",
    "order_items": "order_id text, order_item_id int, product_id text, quantity int, unit_price numeric(10, 2),"
    " total_price numeric(10, 2), discount_amount numeric(10, 2), refund_amount numeric(10, 2)",
}
"""Tables that are landed in Postgres, with their columns; others are landed in S3."""


def _money(draw: random.Random, low: float, high: float) -> Decimal:
    return Decimal(round(100 * low * (high / low) ** draw.random())) / 100


def _moments(draw: random.Random, first: datetime, last: datetime, count: int) -> list[datetime]:
    """Times of orders in shop hours, more of them towards the end and in November."""
    days, found = (last - first).days, []
    while len(found) < count:
        day = first + timedelta(days=int(days * draw.random() ** 0.8))
        if day.month in (11, 12) or draw.random() < 0.6:
            found.append(day.replace(hour=draw.randint(7, 20), minute=draw.randint(0, 59), second=draw.randint(1, 59)))
    return sorted(found)


# -- Online Retail --------------------------------------------------------------------------------------------------

COUNTRIES = {"United Kingdom": 90, "Germany": 3, "France": 3, "EIRE": 2, "Netherlands": 1, "Australia": 1, "RSA": 0.3}


def online_retail_lines(invoices: int = 2600, seed: int = 1) -> list[dict[str, str]]:
    """The flat file: InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country."""
    draw, lines = random.Random(seed), []
    goods = [
        (f"{20000 + n * 7}{draw.choice(('', '', 'A', 'B'))}", f"{colour} {what}", _money(draw, 0.4, 20))
        for n, (colour, what) in enumerate(
            (colour, what)
            for colour in ("WHITE", "RED", "VINTAGE", "PINK", "SET OF 6", "WOODEN")
            for what in (
                "HANGING HEART T-LIGHT HOLDER", "METAL LANTERN", "RETROSPOT CAKE STAND", "LUNCH BAG", "ALARM CLOCK",
                "PAPER CHAIN KIT", "JAM MAKING SET", "PICTURE FRAME", "HOT WATER BOTTLE", "TEA TOWEL", "GARDEN SIGN",
            )
        )
    ]  # fmt: skip
    names, weights = list(COUNTRIES), list(COUNTRIES.values())
    buyers = [(str(12346 + n), draw.choices(names, weights)[0]) for n in range(700)]
    moments = _moments(draw, datetime(2010, 12, 1), datetime(2011, 12, 9), invoices)
    for number, moment in enumerate(moments, start=536365):
        customer, country = buyers[int(len(buyers) * draw.random() ** 1.8)]
        if draw.random() < 0.25:
            customer, country = "", "United Kingdom"
        bought = draw.sample(goods, draw.randint(1, 8))
        about = {"CustomerID": customer, "Country": country}
        written = [(code, name, draw.choice((1, 2, 6, 6, 12, 12, 24)), price) for code, name, price in bought]
        _invoice(lines, str(number), written, moment, about)
        if customer and draw.random() < 0.08:
            # What comes back is a note of its own, without the invoice that it credits.
            code, name, quantity, price = written[0]
            later = min(moment + timedelta(days=draw.randint(1, 20)), datetime(2011, 12, 9, 12))
            _invoice(lines, f"C{number}", [(code, name, -quantity, price)], later, about)
    _invoice(lines, "A563185", [("B", "Adjust bad debt", 1, Decimal("11062.06"))], datetime(2011, 8, 12, 14, 50), {
        "CustomerID": "", "Country": "United Kingdom",
    })  # fmt: skip
    return lines


def _invoice(lines: list, number: str, written: list, moment: datetime, about: dict) -> None:
    date = f"{moment.month}/{moment.day}/{moment.year} {moment:%H:%M}"
    lines += [
        {"InvoiceNo": number, "StockCode": code, "Description": name, "Quantity": str(quantity), "InvoiceDate": date}
        | {"UnitPrice": str(price)}
        | about
        for code, name, quantity, price in written
    ]


def online_retail(invoices: int = 2600, seed: int = 1) -> Tables:
    """Invoices are orders, lines are items; the country is the address, for a quarter has no customer."""
    lines = online_retail_lines(invoices, seed)
    orders, items, products, customers = {}, [], {}, {}
    for line in lines:
        number, customer = line["InvoiceNo"], line["CustomerID"] or None
        placed = datetime.strptime(line["InvoiceDate"], "%m/%d/%Y %H:%M").isoformat()
        orders.setdefault(number, {"order_id": number, "customer_id": customer, "order_date": placed,
                                   "shipping_address": line["Country"]})  # fmt: skip
        quantity, price = int(line["Quantity"]), Decimal(line["UnitPrice"])
        items.append({"order_id": number, "order_item_id": len(items) + 1, "product_id": line["StockCode"],
                      "quantity": quantity, "unit_price": price, "total_price": quantity * price})  # fmt: skip
        products[line["StockCode"]] = {"product_id": line["StockCode"], "product_name": line["Description"]}
        if customer:
            customers[customer] = {"customer_id": customer, "country": line["Country"]}
    return {"orders": list(orders.values()), "order_items": items, "products": list(products.values()),
            "customers": list(customers.values())}  # fmt: skip


# -- Olist ----------------------------------------------------------------------------------------------------------

CITIES = (
    ("sao paulo", "SP", 40), ("campinas", "SP", 8), ("rio de janeiro", "RJ", 14), ("belo horizonte", "MG", 10),
    ("curitiba", "PR", 6), ("florianopolis", "SC", 5), ("porto alegre", "RS", 5), ("salvador", "BA", 4),
    ("belem", "PA", 2), ("cuiaba", "MT", 2), ("maceio", "AL", 1),
)  # fmt: skip
CATEGORIES = (
    "cama_mesa_banho", "beleza_saude", "esporte_lazer", "moveis_decoracao", "informatica_acessorios",
    "utilidades_domesticas", "relogios_presentes", "telefonia", "automotivo", "brinquedos",
)  # fmt: skip
COMMENTS = {
    5: ("Muito bom, recomendo", "Chegou antes do prazo", None, None), 4: ("Bom produto", None),
    3: ("Produto ok, embalagem ruim", None), 2: ("Não gostei da qualidade", "Chegou atrasado"),
    1: ("Não recebi o produto", "Veio errado e ninguém responde", "Péssimo"),
}  # fmt: skip


def olist(orders: int = 2600, seed: int = 2) -> Tables:
    """Orders with their times, items with freight, payments, reviews; a buyer is `customer_unique_id`."""
    draw = random.Random(seed)
    key = lambda: f"{draw.getrandbits(128):032x}"  # noqa: E731
    cities, weights = [(city, state) for city, state, _ in CITIES], [weight for *_, weight in CITIES]
    buyers = [(key(), *draw.choices(cities, weights)[0], draw.randint(1000, 99999)) for _ in range(orders)]
    products = [
        {"product_id": key(), "category_id": draw.choice(CATEGORIES) if draw.random() < 0.98 else None,
         "base_price": str(_money(draw, 10, 400)), "weight_kg": draw.randint(100, 9000) / 1000}
        for _ in range(260)
    ]  # fmt: skip
    tables: Tables = {"customers": [], "orders": [], "order_items": [], "reviews": [], "products": products}
    tables["categories"] = [{"category_id": name, "category_name": name} for name in CATEGORIES]
    tables["customers"] = [
        {"customer_id": buyer, "city": city, "state": state, "country": "BR"} for buyer, city, state, _ in buyers
    ]
    for n, placed in enumerate(_moments(draw, datetime(2016, 10, 1), datetime(2018, 8, 28), orders)):
        # Of a hundred orders four are of somebody who has bought before.
        buyer, city, state, code = buyers[draw.randrange(n) if n and draw.random() < 0.04 else n]
        order, bought = key(), draw.choices(products, k=draw.choices((1, 2, 3), (88, 9, 3))[0])
        freight = sum((_money(draw, 7, 60) for _ in bought), Decimal(0))
        status = draw.choices(
            ("delivered", "shipped", "canceled", "unavailable", "invoiced", "processing"), (970, 10, 7, 6, 4, 3)
        )[0]
        promised = placed + timedelta(days=draw.randint(12, 35))
        days = draw.gammavariate(3, 4) + (4 if state in ("PA", "AL", "BA", "MT") else 0)
        delivered = placed + timedelta(days=days)
        is_there = status == "delivered" and delivered < datetime(2018, 8, 29)
        tables["orders"].append({
            "order_id": order, "customer_id": buyer, "order_date": str(placed),
            "status": "shipped" if status == "delivered" and not is_there else status,
            "payment_method": draw.choices(("credit_card", "boleto", "voucher", "debit_card"), (74, 19, 5, 2))[0],
            "shipping_cost": str(freight), "shipping_address": f"{city}, {state} {code // 100:05d}-{code % 1000:03d}",
            "promised_at": promised.date().isoformat(), "delivered_at": str(delivered) if is_there else None,
            "shipped_at": str(placed + timedelta(days=days / 3)) if status in ("delivered", "shipped") else None,
        })  # fmt: skip
        tables["order_items"] += [
            {"order_id": order, "order_item_id": line, "product_id": one["product_id"], "quantity": 1,
             "unit_price": Decimal(one["base_price"]), "total_price": Decimal(one["base_price"])}
            for line, one in enumerate(bought, start=1)
        ]  # fmt: skip
        if is_there and draw.random() < 0.95:
            is_late = delivered.date() > promised.date()
            score = draw.choices((1, 2, 3, 4, 5), (50, 10, 12, 12, 16) if is_late else (8, 3, 8, 20, 61))[0]
            tables["reviews"].append({
                "review_id": key(), "order_id": order, "customer_id": buyer, "review_score": score,
                "review_text": draw.choice(COMMENTS[score]), "created_at": str(delivered + timedelta(days=1)),
                "product_id": bought[0]["product_id"] if len(bought) == 1 else None,
            })  # fmt: skip
    return tables


# -- Shopify --------------------------------------------------------------------------------------------------------

HOMES = (
    ("{n} Main St, Austin, Texas 78701, United States", 20), ("{n} Pine St, Apt 4, Seattle WA 98101, US", 14),
    ("{n} Ocean Ave, San Diego, California 92101, United States", 16), ("{n} Elm St, Portland, ME 04101", 6),
    ("{n} Queen St W, Toronto, ON M5H 2N2, Canada", 12), ("{n} Rue Sherbrooke, Montréal QC H3A 1B1, Canada", 4),
    ("{n} High St, London, SW1A 2AA, United Kingdom", 9), ("Hauptstr. {n}, 10117 Berlin, Germany", 8),
    ("{n} Rue de Rivoli, 75001 Paris, France", 5), ("{n} George St, Sydney NSW 2000, Australia", 4),
    (None, 2),
)  # fmt: skip


def shopify(orders: int = 2400, seed: int = 3) -> Tables:
    """The export of orders alone: a buyer is an e-mail, and a guest none; statuses are those of payment."""
    draw = random.Random(seed)
    goods = [(f"SKU-{n:03d}", _money(draw, 8, 120)) for n in range(40)]
    addresses, weights = zip(*HOMES, strict=True)
    buyers = [
        (f"buyer{n}@example.com", home and home.format(n=n + 1))
        for n, home in enumerate(draw.choices(addresses, weights, k=1500))
    ]
    tables: Tables = {"orders": [], "order_items": []}
    refunded = {"refunded": 9, "partially_refunded": 1}
    for n, placed in enumerate(_moments(draw, datetime(2025, 7, 1), datetime(2026, 6, 28), orders), start=1001):
        email, address = draw.choice(buyers)
        status = draw.choices(
            ("paid", "pending", "refunded", "partially_refunded", "voided", "authorized"), (880, 30, 40, 25, 15, 10)
        )[0]
        bought = draw.sample(goods, draw.choices((1, 2, 3, 4), (60, 25, 10, 5))[0])
        lines = [(sku, price, draw.choices((1, 2, 3), (85, 12, 3))[0]) for sku, price in bought]
        subtotal = sum((price * quantity for _, price, quantity in lines), Decimal(0))
        discount = (subtotal / 10).quantize(Decimal("0.01")) if draw.random() < 0.15 else Decimal(0)
        shipping = Decimal("0.00") if subtotal > 75 else Decimal("5.90")
        tables["orders"].append({
            "order_id": f"#{n}", "customer_id": None if draw.random() < 0.2 else email, "status": status,
            "order_date": f"{placed:%Y-%m-%dT%H:%M:%S}-04:00", "discount_amount": str(discount),
            "shipping_cost": str(shipping), "total_amount": str(subtotal - discount + shipping),
            "payment_method": draw.choice(("Shopify Payments", "PayPal Express Checkout")),
            "shipping_address": address, "billing_address": address,
        })  # fmt: skip
        tables["order_items"] += [
            {"order_id": f"#{n}", "order_item_id": line, "product_id": sku, "quantity": quantity, "unit_price": price,
             "total_price": price * quantity,
             "refund_amount": price * quantity if line <= refunded.get(status, 0) else None}
            for line, (sku, price, quantity) in enumerate(lines, start=1)
        ]  # fmt: skip
    return tables


SHOPS: dict[str, Callable[[], Tables]] = {"online_retail": online_retail, "olist": olist, "shopify": shopify}


def land(tables: Tables, endpoints: Any, bucket: str = "historic-ecom", schema: str = "ecom") -> None:
    """Put rows where docs/landing.md says, by boto3, psycopg2 and json alone."""
    s3 = boto3.client(
        "s3", endpoint_url=endpoints.s3.url, region_name=endpoints.s3.region,
        aws_access_key_id=endpoints.s3.access_key_id, aws_secret_access_key=endpoints.s3.secret_access_key,
    )  # fmt: skip
    for name in (bucket, bucket.replace("historic", "latest")):
        if name not in [one["Name"] for one in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(Bucket=name)
    with postgres_servers.connect(endpoints.postgres_dsn) as postgres:
        postgres.execute(f"create schema if not exists {schema}")
        for table, rows in tables.items():
            if table not in IN_POSTGRES:
                body = "\n".join(json.dumps(row) for row in rows)
                s3.put_object(Bucket=bucket, Key=f"json/{table}/export.ndjson", Body=body.encode())
                continue
            columns = [column.split()[0] for column in IN_POSTGRES[table].replace("(10, 2)", "").split(", ")]
            postgres.execute(f"create table {schema}.{table} ({IN_POSTGRES[table]})")
            insert = f"insert into {schema}.{table} ({', '.join(columns)}) values %s"
            execute_values(postgres.cursor(), insert, [[row.get(column) for column in columns] for row in rows])
