"""Reading, writing and listing objects in a real S3 server, and its errors."""

from dataclasses import replace

import pytest
from duckbook.backends import storage
from duckbook.errors import ServerError
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

BUCKET = "storage-tests"


@pytest.fixture(scope="module")
def client(endpoints):
    client = storage.client(endpoints.s3)
    storage.ensure_bucket(client, BUCKET)
    return client


def test_an_object_is_read_as_it_was_written(client):
    storage.put_bytes(client, BUCKET, "there/and back/é=1.json", b'{"a": 1}\n')
    assert storage.get_bytes(client, BUCKET, "there/and back/é=1.json") == b'{"a": 1}\n'


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    st.from_regex(r"[A-Za-z0-9_=.:, +%-]{1,40}", fullmatch=True).filter(lambda name: set(name) != {"."}), st.binary()
)
def test_any_key_and_content_can_be_stored(client, name, data):
    key = f"any/{name}"
    storage.put_bytes(client, BUCKET, key, data)
    assert storage.get_bytes(client, BUCKET, key) == data
    assert key in {stored.key for stored in storage.list_objects(client, BUCKET, "any/")}
    assert storage.delete_prefix(client, BUCKET, key) >= 1


def test_a_missing_object_is_none(client):
    assert storage.get_bytes(client, BUCKET, "nothing/here") is None
    assert storage.get_bytes(client, "no-such-bucket", "nothing/here") is None


def test_a_listing_of_several_pages_is_sorted_by_the_bytes_of_the_key(endpoints, client):
    # Some servers list in directory order, which differs from this: `a-b` < `a/b` < `a0`.
    keys = sorted([f"many/{n:02}" for n in range(25)] + ["many/a/b", "many/a-b", "many/a0", "many/B"])
    for key in keys:
        storage.put_bytes(client, BUCKET, key, key.encode())
    small_pages = storage.client(endpoints.s3)
    pages = []
    small_pages.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: pages.append(1) or {**params, "MaxKeys": 10}
    )
    objects = storage.list_objects(small_pages, BUCKET, "many/")
    assert len(pages) >= 3
    assert [stored.key for stored in objects] == keys
    assert [stored.size for stored in objects] == [len(key) for key in keys]
    assert storage.delete_prefix(client, BUCKET, "many/") == len(keys)
    assert storage.list_objects(client, BUCKET, "many/") == []


def test_the_etag_depends_on_the_content_only(client):
    tags = []
    for data in (b"one", b"two", b"one"):
        storage.put_bytes(client, BUCKET, "tag/x", data)
        tags += [stored.etag for stored in storage.list_objects(client, BUCKET, "tag/")]
    assert tags[0] == tags[2] != tags[1]
    assert '"' not in tags[0]


def test_a_missing_bucket_lists_no_objects(client):
    assert storage.list_objects(client, "no-such-bucket", "json/") == []


@pytest.mark.parametrize(("size", "n", "expected"), [(0, 10, 0), (3, 10, 3), (10, 10, 10), (100_000, 10, 10)])
def test_the_head_of_an_object_is_read(client, size, n, expected):
    data = bytes(index % 251 for index in range(size))
    storage.put_bytes(client, BUCKET, "head/x", data)
    assert storage.read_head(client, BUCKET, "head/x", n) == data[:expected]


def test_a_very_large_file_is_uploaded_in_parts(client, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "MULTIPART_BYTES", 2**23)
    path = tmp_path / "large.parquet"
    path.write_bytes(bytes(range(256)) * 40_960)
    storage.upload(client, path, BUCKET, "large/x")
    (stored,) = storage.list_objects(client, BUCKET, "large/")
    assert stored.size == 10_485_760
    assert stored.etag.endswith("-2")  # Two parts.
    assert storage.get_bytes(client, BUCKET, "large/x") == path.read_bytes()


def test_ndjson_is_uploaded_with_its_media_type(client, tmp_path):
    lines = tmp_path / "lines.ndjson"
    lines.write_bytes(b'{"a": 1}\n' * 10_000)
    storage.upload(client, lines, BUCKET, "typed/lines.ndjson")
    assert client.head_object(Bucket=BUCKET, Key="typed/lines.ndjson")["ContentType"] == "application/x-ndjson"
    assert storage.get_bytes(client, BUCKET, "typed/lines.ndjson") == lines.read_bytes()


def test_delete_prefix_deletes_nothing_else(client):
    for key in ("gone/a", "gone/b/c", "gone-not/a"):
        storage.put_bytes(client, BUCKET, key, b"x")
    assert storage.delete_prefix(client, BUCKET, "gone/") == 2
    assert [stored.key for stored in storage.list_objects(client, BUCKET, "gone")] == ["gone-not/a"]


def test_an_empty_prefix_is_an_error(client):
    with pytest.raises(ValueError, match="empty the bucket"):
        storage.delete_prefix(client, BUCKET, "")


def test_ensure_bucket_keeps_an_existing_bucket(client):
    storage.ensure_bucket(client, "made-twice")
    storage.put_bytes(client, "made-twice", "x", b"1")
    storage.ensure_bucket(client, "made-twice")
    assert storage.get_bytes(client, "made-twice", "x") == b"1"


def test_the_error_of_a_missing_bucket_names_the_object(client):
    with pytest.raises(ServerError, match=r"S3 cannot write s3://no-such-bucket/a/b: .*NoSuchBucket"):
        storage.put_bytes(client, "no-such-bucket", "a/b", b"x")


def test_an_error_does_not_show_the_secret(endpoints):
    stranger = storage.client(replace(endpoints.s3, secret_access_key="hunter2hunter2"))
    with pytest.raises(ServerError, match="S3 cannot list s3://storage-tests/json/: ") as error:
        storage.list_objects(stranger, BUCKET, "json/")
    assert "hunter2" not in str(error.value)


def test_a_server_that_is_down_is_an_error_within_seconds(endpoints):
    nowhere = storage.client(replace(endpoints.s3, url="http://127.0.0.1:9"), attempts=2)
    with pytest.raises(ServerError, match=r"S3 cannot read s3://b/k: Could not connect .*`make status`"):
        storage.get_bytes(nowhere, "b", "k")


def test_a_proxy_is_not_used_for_this_machine(endpoints, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    storage.put_bytes(storage.client(endpoints.s3), BUCKET, "proxy/x", b"1")


def test_aws_endpoint_variables_are_ignored(endpoints, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert storage.client(replace(endpoints.s3, url=None)).meta.endpoint_url.endswith("amazonaws.com")
