"""The OpenAPI document: every noun is in it, every request is closed to what it does not declare."""
from __future__ import annotations

import pytest

from soc.access.roles import Role
from tests.console_under_test import build, quick_hashes

NOUNS = {"events", "alerts", "rulepacks", "rules", "sources", "imports", "deadletters", "agencies", "users", "health", "session", "setup",
         "demonstration"}


@pytest.fixture
def document(tmp_path, monkeypatch):
    quick_hashes(monkeypatch)
    console = build(tmp_path)
    yield console.client(Role.VIEWER).get("/api/v1/openapi.json").json()
    console.close()


def test_every_noun_is_described(document):
    assert document["openapi"].startswith("3.")
    found = {path.split("/")[3] for path in document["paths"] if path.startswith("/api/v1/")}
    assert found == NOUNS | {"openapi.json"}


def test_every_operation_says_what_it_does(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), (method, path)


def test_every_request_body_is_closed(document):
    bodies = [
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        for operations in document["paths"].values() for operation in operations.values()
        if "requestBody" in operation and "application/json" in operation["requestBody"]["content"]
    ]
    assert len(bodies) >= 9
    for name in bodies:
        assert document["components"]["schemas"][name]["additionalProperties"] is False, name
