"""Schemathesis asks whatever the specification allows, and what it does not: nothing that it sends may bring
the server out of its word. The same requests are made at every run: those drawn at random, and all of some thousands
that are counted out from the bounds in the shapes."""

import copy
import functools
import itertools
import os
import re

import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from specification import BASE, document, operations, send

EXAMPLES_MAX = 40
# Together they are far more; fewer would mean that some are not sent.
REQUESTS_MIN = 8_000
MODELS = {"/v1/embeddings": "bert-mean", "/v1/rerank": "bert-rank", "/rerank": "bert-rank"}
# What is asked of the model is kept short: words are not what is tested here.
TOKENS_MAX, CHOICES_MAX = 4, 2
CHOICES = ("n", "best_of")
# Where a bound is left out, the model would speak until its context is full.
BOUNDS = {"/v1/chat/completions": "max_tokens", "/v1/completions": "max_tokens",
          "/v1/responses": "max_output_tokens", "/v1/messages": "max_tokens"}
OTHER_BOUNDS = ("max_completion_tokens",)
# What the owner's key, which is for models, does not open.
KEYS = {"/metrics": "STRONGROOM_NUMBERS_KEY", "/v1/organization/": "STRONGROOM_BOOKS_KEY"}
# Nothing is made in the background, and no conversation is compacted.
REFUSES_ALL = {"POST /v1/responses/{id}/cancel", "POST /v1/responses/compact"}
# How what is wrong is refused.
REFUSALS = ["400", "401", "403", "404", "405", "413", "415"]
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.ignored_auth,
]

config = SchemathesisConfig.from_dict({
    "seed": 1,
    "auth": {"openapi": {"bearer": {"bearer": os.environ["OPENAI_API_KEY"]}}},
    "tls-verify": os.environ["STRONGROOM_CA"],
    "checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}},
    "generation": {
        "mode": "all", "max-examples": EXAMPLES_MAX, "deterministic": True, "database": "none",
        # Queries that nobody asked for are left unread by the addresses that take none.
        "allow-extra-parameters": False, "with-security-parameters": False,
    },
})
schema = schemathesis.openapi.from_dict(copy.deepcopy(document()), config=config)
schema.config.update(base_url=BASE)


numbers = itertools.count()
# One connection for all: a handshake for each request takes longer than most answers.
session = requests.Session()
# Which operations were answered. Those are asked twice more, without a key and with a wrong one, but not each time.
answered = set()
sent = []


def is_right(case):
    return case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE


def key_for(path):
    """A key that opens what lies there, where the owner's does not."""
    name = next((name for start, name in KEYS.items() if path.startswith(start)), None)
    return {"Authorization": f"Bearer {os.environ[name]}"} if name else None


def kept():
    """The id of a response that is there."""
    body = {"model": "guide", "input": "Hi", "max_output_tokens": 1, "store": True}
    return send("POST", "/v1/responses", body).json()["id"]


kept_once = functools.cache(kept)


def at_something(case):
    """Every other time what is asked for by its id is there."""
    if "{id}" not in case.path or next(numbers) % 2:
        return
    if case.path.startswith("/v1/models/"):
        case.path_parameters["id"] = "guide"
    else:
        case.path_parameters["id"] = kept() if case.method == "DELETE" else kept_once()


def kept_short(path, body):
    """The same request to a model that is there, with an answer that is soon over."""
    if not isinstance(body, dict):
        return body
    body = dict(body)
    if isinstance(body.get("model"), str):
        body["model"] = MODELS.get(path, "guide")
    for name in CHOICES:
        if isinstance(body.get(name), int):
            body[name] = min(body[name], CHOICES_MAX)
    if bound := BOUNDS.get(path):
        body[bound] = min(body.get(bound) or TOKENS_MAX, TOKENS_MAX)
    for name in OTHER_BOUNDS:
        if isinstance(body.get(name), int):
            body[name] = min(body[name], TOKENS_MAX)
    return body


def apart(case):
    """Each request by a key of its own, where it has one that is right: none is answered with the answer to another.
    What only Anthropic's clients ask of the list of models, they ask."""
    name = next((name for name in case.headers or {} if name.lower() == "idempotency-key"), None)
    if name is not None and re.fullmatch("[ -~]{1,255}", str(case.headers[name])):
        case.headers[name] = f"request-{next(numbers)}"
    if case.path == "/v1/models" and case.query and "anthropic-version" not in (case.headers or {}):
        case.headers = {**(case.headers or {}), "anthropic-version": "2023-06-01"}


@schema.parametrize()
@settings(max_examples=EXAMPLES_MAX, derandomize=True, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_is_answered_as_specified(case):
    apart(case)
    # What is wrong on purpose stays as it is.
    if is_right(case):
        at_something(case)
        case.body = kept_short(case.path, case.body)
    label = case.operation.label
    wanted = [one for one in CHECKS if one is not checks.ignored_auth or label not in answered]
    answer = case.call_and_validate(checks=wanted, headers=key_for(case.path), session=session, timeout=300)
    sent.append(label)
    if answer.status_code == 200:
        answered.add(label)


def test_all_of_it_was_sent_and_every_address_was_asked_for_more_than_refusals():
    assert len(sent) > REQUESTS_MIN
    everything = {f"{method} {path}" for method, path, _ in operations()}
    assert everything - answered == REFUSES_ALL
