"""Elasticsearch's `_bulk` and what shippers ask before they send, through real sockets and the real client."""
from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from elasticsearch import ApiError, AuthenticationException, Elasticsearch, ElasticsearchWarning, helpers

from soc.errors import DiskFullError
from soc.event import Lane
from soc.ingest.frame import Frame, FrameHead, records_of

TOKEN = "soci_right"
NDJSON = {"content-type": "application/x-ndjson"}
DOCUMENTS = [{"message": f"document {n}", "host": {"name": "web1"}} for n in range(25)]


def kept(gateway: Any) -> list[dict[str, Any]]:
    found: list[bytes] = []
    for _, batch in gateway.intake.kept:
        head = FrameHead(batch.encoding, batch.compression, 0, batch.context.count, 0, len(batch.payload), 0)
        found += records_of(Frame(head, batch.context, batch.payload))
    return [json.loads(record) for record in found]


def elastic(gateway: Any, **options: Any) -> Elasticsearch:
    return Elasticsearch(gateway.url, request_timeout=30, **{"bearer_auth": TOKEN, **options})


def body(*lines: object) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


@pytest.mark.parametrize("auth", [
    {"bearer_auth": TOKEN}, {"bearer_auth": None, "api_key": ("web", TOKEN)}, {"bearer_auth": None, "basic_auth": ("web", TOKEN)}])
@pytest.mark.parametrize("packed", [False, True])
def test_the_clients_bulk_helper_sends_by_every_kind_of_login(gateway: Any, auth: dict[str, Any], packed: bool) -> None:
    with elastic(gateway, http_compress=packed, **auth) as client:
        taken, faults = helpers.bulk(client, ({"_op_type": "create", "_index": "logs-soc", "_source": one} for one in DOCUMENTS), chunk_size=10)
    assert (taken, faults) == (25, [])
    assert kept(gateway) == DOCUMENTS
    assert {(lane, batch.context.source, batch.context.agency) for lane, batch in gateway.intake.kept} == {(Lane.LIVE, "web", "health")}
    assert gateway.accounting.shown()["sources"]["web"]["records"] == 25


def test_the_streaming_helper_is_told_each_item_once_and_in_order(gateway: Any) -> None:
    actions = [{"_index": "logs", "_id": f"id-{n}", "_source": one} for n, one in enumerate(DOCUMENTS)]
    with elastic(gateway) as client:
        told = list(helpers.streaming_bulk(client, actions, chunk_size=7))
    assert [(fine, said["index"]["_id"], said["index"]["status"]) for fine, said in told] == [(True, f"id-{n}", 201) for n in range(25)]


def test_items_that_are_not_taken_are_refused_one_by_one_and_the_others_kept(gateway: Any) -> None:
    with elastic(gateway) as client:
        taken, faults = helpers.bulk(client, [
            {"_index": "logs", "_source": {"n": 1}}, {"_op_type": "delete", "_index": "logs", "_id": "x"},
            {"_op_type": "update", "_index": "logs", "_id": "x", "doc": {"n": 2}}, {"_index": "logs", "_source": {"n": 3}}],
            raise_on_error=False)
        assert taken == 2
        assert [(next(iter(one)), next(iter(one.values()))["status"]) for one in faults] == [("delete", 400), ("update", 400)]
    assert kept(gateway) == [{"n": 1}, {"n": 3}]
    assert gateway.accounting.shown()["refused"] == {"bulk_item": 2}


def test_what_the_client_asks_before_and_beside_it_is_answered(gateway: Any) -> None:
    with elastic(gateway) as client:
        assert client.info()["version"]["number"].startswith("8.")
        assert client.ping()
        assert client.license.get()["license"]["status"] == "active"
        assert client.xpack.info()["license"]["type"] == "basic"
        assert client.cluster.health()["status"] == "green"
        with pytest.warns(ElasticsearchWarning, match="not kept"):
            taken = client.indices.put_index_template(name="filebeat", index_patterns=["filebeat-*"])
        with pytest.warns(ElasticsearchWarning, match="not kept"):
            assert client.ilm.put_lifecycle(name="filebeat", policy={"phases": {}}) == taken
        with pytest.warns(ElasticsearchWarning, match="not kept"):
            there = client.indices.exists_index_template(name="filebeat")
    assert taken == {"acknowledged": True}
    assert not there, "what is not kept is not there"


def test_a_beat_that_was_not_told_to_set_nothing_up_gets_the_answers_that_let_it_send(gateway: Any) -> None:
    """What Filebeat 7.17 asks for before its first batch, with index templates and life cycles on."""
    said = {"authorization": "Basic " + base64.b64encode(b"web:" + TOKEN.encode()).decode()}
    with gateway.client() as client:
        assert client.get("/_xpack", headers=said).json()["features"]["ilm"] == {"available": True, "enabled": True}
        for path in ("/_ilm/policy/filebeat", "/_index_template/filebeat-7.17.28", "/_alias/filebeat-7.17.28", "/_ingest/pipeline/filebeat-x"):
            assert client.get(path, headers=said).status_code == 404
        assert client.head("/filebeat-7.17.28", headers=said).status_code == 404
        for name in ("%3Cfilebeat-7.17.28-%7Bnow%2Fd%7D-000001%3E", "filebeat-7.17.28-000001"):
            made = client.put(f"/{name}", headers=said, json={"aliases": {"filebeat": {"is_write_index": True}}})
            assert (made.status_code, made.json()["acknowledged"]) == (200, True)
            assert "not kept" in made.headers["warning"]
            assert client.put(f"/{name}", headers={"authorization": ""}, json={}).status_code == 401
        for method, path in (("PUT", "/_other"), ("POST", "/filebeat"), ("DELETE", "/filebeat"), ("GET", "/filebeat"), ("PUT", "/a/b")):
            assert client.request(method, path, headers=said).status_code == 404, (method, path)


def test_an_answer_can_be_read_by_its_beginning(gateway: Any) -> None:
    """Fluent Bit looks for these very bytes where its buffer cut the answer off; without them it would send all of it again."""
    with gateway.client() as client:
        sent = client.post("/_bulk", content=body({"create": {"_index": "i"}}, {"n": 1}), headers=NDJSON | {"authorization": f"Bearer {TOKEN}"})
        assert b'"errors":false,"items":[' in sent.content[:100]


@pytest.mark.parametrize("token", ["", "Bearer soci_wrong", "Basic " + base64.b64encode(b"web:soci_wrong").decode(), "ApiKey ???", "Basic ???"])
def test_without_a_valid_token_nothing_is_told_or_taken(gateway: Any, token: str) -> None:
    with gateway.client() as client:
        for method, path in (("GET", "/"), ("POST", "/_bulk"), ("POST", "/logs/_bulk"), ("GET", "/_license"), ("PUT", "/_template/x")):
            answer = client.request(method, path, content=body({"index": {"_index": "i"}}, {"n": 1}),
                                    headers=NDJSON | {"authorization": token})
            assert answer.status_code == 401, path
            assert answer.json()["error"]["type"] == "security_exception"
            assert "ApiKey" in answer.headers["www-authenticate"]
    assert gateway.intake.kept == []
    with elastic(gateway, bearer_auth="soci_wrong") as elsewhere, pytest.raises(AuthenticationException):
        helpers.bulk(elsewhere, [{"_index": "i", "_source": {}}])


def test_a_token_by_basic_or_api_key_opens_only_what_speaks_elasticsearch(gateway: Any) -> None:
    with gateway.client() as client:
        said = NDJSON | {"authorization": "Basic " + base64.b64encode(b"web:" + TOKEN.encode()).decode()}
        assert client.post("/ingest/v1/events", content=b"{}\n", headers=said).status_code == 401
        assert client.post("/_bulk", content=body({"index": {"_index": "i"}}, {"n": 1}), headers=said).status_code == 200


@pytest.mark.parametrize("sent, said", [
    (b"", "body is required"), (b"\n\n", "body is required"), (b"no action\n{}\n", "line [1]"), (b'{"index":{},"create":{}}\n{}\n', "line [1]"),
    (b'{"index":{"_index":"i"}}\n{"n":1}\n{"make":{}}\n{}\n', "line [3]"), (b'{"index":7}\n{}\n', "line [1]"), (b"\xff\xfe\n", "line [1]"),
])
def test_a_body_that_is_no_bulk_is_refused_whole_with_its_line(gateway: Any, sent: bytes, said: str) -> None:
    with gateway.client() as client:
        answer = client.post("/_bulk", content=sent, headers=NDJSON)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["reason"]
    assert gateway.intake.kept == []


@pytest.mark.parametrize("document", [b"", b"[1]", b"7", b'"text"'])
def test_a_document_that_is_no_object_costs_itself(gateway: Any, document: bytes) -> None:
    action = {"create": {"_index": "i"}}
    with gateway.client() as client:
        answer = client.post("/_bulk", content=body(action, {"n": 1}, action, document, action, {"n": 2}), headers=NDJSON).json()
    assert answer["errors"]
    assert [item["create"]["status"] for item in answer["items"]] == [201, 400, 201]
    assert kept(gateway) == [{"n": 1}, {"n": 2}]


def test_an_item_needs_an_index_of_its_own_or_of_the_address(gateway: Any) -> None:
    with gateway.client() as client:
        sent = body({"create": {}}, {"n": 1})
        assert client.post("/_bulk", content=sent, headers=NDJSON).json()["items"][0]["create"]["status"] == 400
        assert client.put("/logs/_bulk", content=sent, headers=NDJSON).json()["items"][0]["create"]["_index"] == "logs"


def test_bytes_are_kept_as_they_came_and_gzip_is_unpacked_within_bounds(gateway: Any) -> None:
    strange = '{"message" : "tiếng Việt \\u0000 \\ud800", "a":1e400, "a":2}'.encode()
    with gateway.client() as client:
        sent = gzip.compress(body({"index": {"_index": "i"}}, strange))
        assert client.post("/_bulk", content=sent, headers=NDJSON | {"content-encoding": "gzip"}).status_code == 200
        bomb = gzip.compress(body({"index": {"_index": "i"}}, b'{"a":"' + b"a" * (80 << 20) + b'"}'), 1)
        assert client.post("/_bulk", content=bomb, headers=NDJSON | {"content-encoding": "gzip"}).status_code == 413
    [(_, batch)] = gateway.intake.kept
    assert strange in batch.payload


def test_a_full_disk_or_lane_is_no_acknowledgement_and_the_client_comes_again(gateway: Any) -> None:
    gateway.intake.fault = lambda: DiskFullError("the disk is full")
    with elastic(gateway, max_retries=0) as client:
        with pytest.raises(ApiError) as fault:
            helpers.bulk(client, [{"_index": "i", "_source": {"n": 1}}])
        assert fault.value.status_code == 503
        gateway.intake.fault = None
        gateway.intake.full[Lane.LIVE] = 2.0
        with pytest.raises(ApiError) as fault:
            helpers.bulk(client, [{"_index": "i", "_source": {"n": 1}}])
        assert fault.value.status_code == 429
        assert client.cluster.health()["status"] == "yellow"
        gateway.intake.full[Lane.LIVE] = 0.0
        assert helpers.bulk(client, [{"_index": "i", "_source": {"n": 1}}])[0] == 1
    assert kept(gateway) == [{"n": 1}]
