"""Schemathesis asks whatever the specification allows, and what it does not: nothing that it sends may bring
the server out of its word. The same requests are made at every run."""

import collections
import copy
import itertools
import os
import re

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.generation.meta import TestPhase
from specification import BASE, document

EXAMPLES_MAX = 40
# Beside those drawn at random, some thousands are counted out from the bounds in the shapes: one in so many is sent.
COUNTED_EVERY = 12
MODELS = {"/v1/embeddings": "bert-mean", "/v1/rerank": "bert-rank", "/rerank": "bert-rank"}
# What is asked of the model is kept short: words are not what is tested here.
TOKENS_MAX, CHOICES_MAX = 4, 2
CHOICES = ("n", "best_of")
# Where a bound is left out, the model would speak until its context is full.
BOUNDS = {"/v1/chat/completions": "max_tokens", "/v1/completions": "max_tokens",
          "/v1/responses": "max_output_tokens", "/v1/messages": "max_tokens"}
OTHER_BOUNDS = ("max_completion_tokens",)
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
    "generation": {
        "mode": "all", "max-examples": EXAMPLES_MAX, "deterministic": True, "database": "none",
        # Queries that nobody asked for are left unread by the addresses that take none.
        "allow-extra-parameters": False, "with-security-parameters": False,
    },
})
schema = schemathesis.openapi.from_dict(copy.deepcopy(document()), config=config)
schema.config.update(base_url=BASE)


counted = collections.Counter()
numbers = itertools.count()


def is_left_out(case):
    """Whether it is one of the many that are much like the one before it."""
    if case.meta is None or case.meta.phase.name != TestPhase.COVERAGE or case.method != case.operation.method.upper():
        return False
    counted[case.operation.label] += 1
    return counted[case.operation.label] % COUNTED_EVERY != 1


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
    if is_left_out(case):
        return
    apart(case)
    # What is wrong on purpose stays as it is.
    if case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE:
        case.body = kept_short(case.path, case.body)
    case.call_and_validate(checks=CHECKS, timeout=300)
