"""The specification by itself: it is sound by an independent judge's word, and its examples are answered."""

import os

import jsonschema
import openapi_spec_validator
import pytest
from specification import BASE, check, document, operation, operations, send, wrong

EXAMPLES = [
    (method, path, operation["requestBody"]["content"]["application/json"])
    for method, path, operation in operations() if "requestBody" in operation
]


def test_an_independent_validator_finds_nothing_wrong():
    found = openapi_spec_validator.OpenAPIV31SpecValidator(document()).iter_errors()
    assert [str(error)[:500] for error in found] == []


def test_every_shape_is_sound_json_schema():
    for name, schema in document()["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert "$schema" not in schema, name


def test_it_is_asked_for_again_only_where_it_has_changed():
    first = send("GET", "/openapi.json", headers={})
    assert first.headers["content-type"] == "application/json"
    again = send("GET", "/openapi.json", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = send("GET", "/openapi.json", headers={"if-none-match": '"other"'})
    assert (other.status_code, other.text) == (200, first.text)


def test_the_reference_page_brings_all_that_it_needs():
    page = send("GET", "/docs", headers={})
    assert page.status_code == 200 and "/static/js/docs/page.js" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for there in ("/static/js/docs/page.js", "/static/css/docs.css"):
        assert send("GET", there, headers={}).status_code == 200
    assert "http" not in page.text.replace(BASE, ""), "it names another place"


@pytest.mark.parametrize(("method", "path", "body"), EXAMPLES, ids=[path for _, path, _ in EXAMPLES])
def test_every_example_has_its_shape_and_is_answered(method, path, body):
    assert wrong(body["schema"], body["example"]) == []
    check(method, path, send(method, path, body["example"]))


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/guide", "/healthz", "/readyz"])
def test_what_is_only_read_has_its_shape(path):
    named = "/v1/models/{id}" if path.startswith("/v1/models/") else path
    check("GET", named, send("GET", path))


def test_metrics_are_text_and_need_a_scope_of_their_own():
    numbers = {"authorization": f"Bearer {os.environ['STRONGROOM_NUMBERS_KEY']}"}
    answer = send("GET", "/metrics", headers=numbers)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    assert "text/plain" in operation("GET", "/metrics")["responses"]["200"]["content"]
    check("GET", "/metrics", send("GET", "/metrics"), 403)
