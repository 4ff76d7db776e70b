"""Fixtures for tests on real servers: a shop with its own Postgres and S3, and others that play a person's own.

The servers of a session live in pytest's temporary folder and stop with it. Nothing of the developer's own
environment or ``.env`` reaches a test: each takes its settings from these fixtures.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import pytest
from duckbook.backends import servers
from duckbook.settings import Endpoints, Settings
from xdist.scheduler import LoadFileScheduling


def pytest_configure(config: pytest.Config) -> None:
    """Forget what the developer's shell says about data folders, AWS and Postgres."""
    for name in list(os.environ):
        if name.startswith(("DUCKBOOK_", "AWS_", "PG", "MOTHERDUCK_")) or name == "motherduck_token":
            del os.environ[name]
    # No test may ask the cloud it happens to run in for credentials, and wait for the answer.
    os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}
    os.environ |= {"AWS_SHARED_CREDENTIALS_FILE": os.devnull}


NOTEBOOKS = "data_of_the_notebooks"

SHOPS = ("built_shop", "generated_shop", NOTEBOOKS)
"""Shops that several files look at."""


class WholeFiles(LoadFileScheduling):
    """A worker takes whole files.

    The notebooks go to one, for each reads what those before it made, and so do the files that look at the same shop,
    for building one takes half a minute.
    """

    looking = MappingProxyType(
        {
            file.name: shop
            for file in Path(__file__).parent.rglob("test_*.py")
            for shop in SHOPS
            if shop in file.read_text()
        }
    )

    def _split_scope(self, nodeid: str) -> str:
        file = Path(super()._split_scope(nodeid))
        return NOTEBOOKS if file.suffix == ".ipynb" else self.looking.get(file.name, file.name)


def pytest_xdist_make_scheduler(config: pytest.Config, log) -> WholeFiles:
    """Share the tests out among the workers."""
    return WholeFiles(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker ends up alone with it."""
    longest = ("lake", "dbt_layers", "run_faults", "marts_books", "conclusions", "notebooks", "own_data", "hostile")
    longest += (
        "landing",
        "ingest_sequences",
        "ingest_faults",
        "features",
        "lab",
        "person_erasure",
    )
    longest += ("chain", "ingest", "servers")
    place = {f"test_{name}": number for number, name in enumerate(longest)}
    names = {item: "test_notebooks" if item.path.suffix == ".ipynb" else item.path.stem for item in items}
    items.sort(key=lambda item: place.get(names[item], len(place)))


def pytest_collection_finish() -> None:
    """Look for garbage rarely: with the many objects of dbt it takes a sixth of a build."""
    gc.freeze()
    gc.set_threshold(100_000, 10, 5)


@pytest.fixture(scope="session")
def start_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Settings]]:
    """A function that starts the servers of a new shop: ``start_shop("name", customers=300)`` gives its settings.

    Its folder has a space in it, because people's folders have.
    """
    started: list[Settings] = []

    def start(name: str, **values) -> Settings:
        folder = tmp_path_factory.mktemp(name)
        shop = Settings(data=folder / "the data", runs=folder / "runs", _env_file=None, **values)
        started.append(shop)
        servers.up(shop)
        return shop

    yield start
    with ThreadPoolExecutor() as pool:
        list(pool.map(servers.down, started))


@pytest.fixture(scope="session")
def shop_settings(start_shop: Callable[..., Settings]) -> Settings:
    """The settings of the session's shop, whose embedded servers run."""
    return start_shop("session", customers=300)


@pytest.fixture(scope="session")
def endpoints(shop_settings: Settings) -> Endpoints:
    """Where the session's shop has its Postgres and S3."""
    return servers.up(shop_settings)


@pytest.fixture(scope="session")
def external_endpoints(start_shop: Callable[..., Settings]) -> Endpoints:
    """A second, independent pair of servers, for a person's own."""
    return servers.up(start_shop("external", postgres_schema="unused"))


@pytest.fixture(scope="session")
def external_environment(external_endpoints: Endpoints) -> dict[str, str]:
    """The variables that point duckbook at the second pair."""
    s3 = external_endpoints.s3
    return {
        "DUCKBOOK_POSTGRES_DSN": external_endpoints.postgres_dsn,
        "DUCKBOOK_S3_ENDPOINT": str(s3.url),
        "DUCKBOOK_S3_REGION": s3.region,
        "DUCKBOOK_S3_ACCESS_KEY_ID": s3.access_key_id,
        "DUCKBOOK_S3_SECRET_ACCESS_KEY": s3.secret_access_key,
    }


@pytest.fixture(scope="module")
def one_shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, endpoints: Endpoints):
    """A landing zone of a module's own, with its history and warehouse, on the servers of the session."""
    from landing_zone import Shop

    name = request.path.stem.removeprefix("test_").replace("_", "")
    return Shop(tmp_path_factory.mktemp(name), endpoints, name)


@pytest.fixture
def shop(one_shop):
    """The landing zone of the module, empty."""
    one_shop.clear()
    return one_shop


@pytest.fixture
def external_settings(external_environment: dict[str, str], tmp_path: Path) -> Settings:
    """Settings of a shop that uses the second pair in place of embedded servers."""
    values = {name.removeprefix("DUCKBOOK_").lower(): value for name, value in external_environment.items()}
    return Settings(data=tmp_path / "data", runs=tmp_path / "runs", customers=300, _env_file=None, **values)


@pytest.fixture(scope="module")
def chromium():
    """A Chromium that playwright drives; without one on this machine the test is left out, and pytest says so.

    It ends with the tests of a file, and with it an event loop in which no other may run.
    """
    from browsers import chromium_path
    from playwright.sync_api import sync_playwright

    if (path := chromium_path()) is None:
        pytest.skip("there is no Chromium: apt install chromium, or .venv/bin/playwright install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def built_shop(tmp_path_factory: pytest.TempPathFactory):
    """The small shop of tests/shop.py, built through all layers: its settings, and what the build tells of itself."""
    from duckbook.backends import warehouse
    from duckbook.transform import dbt_layers
    from raw_rows import Raw
    from shop import batches

    shop = Settings(data=tmp_path_factory.mktemp("a shop"), _env_file=None)
    with warehouse.open_warehouse(shop) as connection:
        raw = Raw(connection)
        connection.begin()
        for table, rows, on in batches():
            raw.land(table, rows, on)
        raw.unreadable("orders", '{"order_id": ')
        connection.commit()
    return shop, dbt_layers.build(shop, "all", unit_tests=True)


@pytest.fixture(scope="session")
def generated_shop(start_shop: Callable[..., Settings]) -> Settings:
    """A generated shop, published: small enough to be quick, and large enough for every label to occur."""
    from chains import begin
    from duckbook.publish import publisher

    shop = start_shop("generated", customers=1500)
    begin(shop)
    publisher.publish(shop, "generated")
    return shop
