"""Real answers and real events, held against the shapes that the specification gives them; and bodies that
the shapes and the server must judge alike."""

import json
import os
import time
import uuid

import pytest
from specification import KEY, check, check_events, document, of, send, shapes, wrong

CHAT, TEXTS, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
CALLING = json.loads(os.environ["STRONGROOM_CALLING"])
SAID = [{"role": "user", "content": "Who are you?"}]
CARD = [{"role": "user", "content": "My card is 4111 1111 1111 1111."}]
ADD = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {
    "a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"], "additionalProperties": False}}
# Each answer is the same each time: with another one now and then no call would be made, or nothing be said.
SHORT = {"model": "guide", "max_tokens": 8, "messages": SAID, "seed": 7}
LONG = SHORT | {"model": "guide-long", "max_tokens": 200}
TEXT = {"model": "guide", "prompt": "A", "max_tokens": 4, "seed": 7}
ITEMS = {"model": "guide", "input": "Who are you?", "max_output_tokens": 8, "store": False, "seed": 7}
THINKING = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["b"]}}, "required": ["a"], "additionalProperties": False}

WHOLE = [
    (CHAT, SHORT),
    (CHAT, SHORT | {"logprobs": True, "top_logprobs": 3, "n": 2}),
    (CHAT, SHORT | {"messages": CARD}),
    (CHAT, LONG | {"tools": [{"type": "function", "function": ADD}], "tool_choice": "required"}),
    (CHAT, SHORT | {"max_tokens": 60, "response_format": {
        "type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}}),
    (CHAT, SHORT | {"reasoning_effort": "low"}),
    (CHAT, LONG | {"tools": [{"type": "function", "function": ADD}], "response_format": {"type": "json_object"}}),
    (TEXTS, TEXT), (TEXTS, TEXT | {"logprobs": 5, "n": 2}), (TEXTS, TEXT | {"prompt": [[1, 2, 3]]}),
    (TEXTS, TEXT | {"prompt": ["A", [400, 500]], "n": 2}), (TEXTS, TEXT | {"echo": True, "logprobs": 2}),
    (TEXTS, TEXT | {"prompt": "A strongroom", "echo": True, "logprobs": 0, "max_tokens": 0}),
    (RESPONSES, ITEMS), (RESPONSES, ITEMS | THINKING), (RESPONSES, ITEMS | {"input": CARD}),
    (RESPONSES, ITEMS | {"model": "guide-long", "max_output_tokens": 200, "tools": [ADD | {"type": "function"}],
                         "tool_choice": "required", "metadata": {"a": "b"}}),
    (MESSAGES, SHORT), (MESSAGES, SHORT | {"messages": CARD}), (MESSAGES, SHORT | {"stop_sequences": ["a", "e"]}),
    (MESSAGES, LONG | {"tools": [{"name": "add", "input_schema": ADD["parameters"]}], "tool_choice": {"type": "any"}}),
    ("/v1/embeddings", {"model": "bert-mean", "input": ["a", "b"], "encoding_format": "base64"}),
    ("/v1/embeddings", {"model": "bert-mean", "input": [[1, 2], [3]], "truncate": True}),
    ("/v1/rerank", {"model": "bert-rank", "query": "a", "documents": ["b", {"text": "c"}], "return_documents": True}),
    ("/v1/tokenize", {"prompt": "Hällo", "return_token_strs": True, "messages": None}),
    ("/v1/tokenize", {"content": "Hällo", "with_pieces": True}),
    ("/v1/tokenize", {"messages": SAID}),
    ("/v1/responses/input_tokens", {"model": "guide", "input": "Who are you?", "instructions": "Be brief."}),
    ("/rerank", {"model": "bert-rank", "query": "a", "documents": ["b"]}),
    ("/tokenize", {"content": "Hällo", "with_pieces": True}),
    ("/detokenize", {"model": "guide", "tokens": [300]}),
    ("/v1/moderations", {"input": [CARD[0]["content"], "quiet"]}),
    ("/v1/moderations", {"input": [{"type": "text", "text": "quiet"}]}),
]
STREAMED = [(path, body) for path, body in WHOLE if path in (CHAT, TEXTS, RESPONSES, MESSAGES)]


def name_of(case):
    return f"{case[0]}-{'-'.join(sorted(set(case[1]) - {'model', 'messages', 'input', 'prompt'}))}"


@pytest.mark.parametrize(("path", "body"), WHOLE, ids=map(name_of, WHOLE))
def test_a_whole_answer_has_its_shape_and_no_more(path, body):
    check("POST", path, send("POST", path, body))


@pytest.mark.parametrize(("path", "body"), STREAMED, ids=map(name_of, STREAMED))
def test_every_event_of_a_stream_has_its_shape_and_no_more(path, body):
    usage = {"stream_options": {"include_usage": True}} if path in (CHAT, TEXTS) else {}
    check_events("POST", path, send("POST", path, body | {"stream": True} | usage))


def test_a_call_that_the_model_makes_by_itself_has_its_shape_in_streams():
    body = LONG | {"tools": [{"type": "function", "function": ADD}], "logit_bias": CALLING, "stream": True}
    found = check_events("POST", CHAT, send("POST", CHAT, body))
    assert any(choice["delta"].get("tool_calls") for chunk in found for choice in chunk["choices"])


def test_a_kept_response_is_shown_listed_and_deleted_in_its_shapes():
    made = check("POST", RESPONSES, send("POST", RESPONSES, ITEMS | {"store": True, "metadata": {"a": "b"}}))
    at = f"{RESPONSES}/{made['id']}"
    assert check("GET", RESPONSES + "/{id}", send("GET", at)) == made
    check("GET", RESPONSES + "/{id}/input_items", send("GET", f"{at}/input_items?limit=1&order=asc"))
    check("POST", RESPONSES + "/{id}/cancel", send("POST", f"{at}/cancel"), 400)
    following = ITEMS | {"previous_response_id": made["id"]}
    check("POST", RESPONSES, send("POST", RESPONSES, following))
    check("DELETE", RESPONSES + "/{id}", send("DELETE", at))
    check("GET", RESPONSES + "/{id}", send("GET", at), 404)
    check("POST", RESPONSES + "/{id}/cancel", send("POST", f"{at}/cancel"), 404)
    check("POST", RESPONSES, send("POST", RESPONSES, following), 404)


# Each differs from a body that is answered by what makes it wrong, and is refused with this status and code.
REFUSED = [
    (CHAT, SHORT | {"messages": None}, 400, "invalid_request"),
    (CHAT, SHORT | {"messages": []}, 400, "invalid_value"),
    (CHAT, SHORT | {"colour": 1}, 400, "unknown_parameter"),
    (CHAT, SHORT | {"temperature": 3}, 400, "invalid_value"),
    (CHAT, SHORT | {"audio": {}}, 400, "unsupported_parameter"),
    (CHAT, SHORT | {"stop": ["a"] * 17}, 400, "invalid_value"),
    (CHAT, SHORT | {"messages": [{"role": "user"}]}, 400, "invalid_value"),
    (CHAT, SHORT | {"messages": [{"role": "user", "content": "a", "colour": 1}]}, 400, "unknown_parameter"),
    (CHAT, SHORT | {"messages": [{"role": "tool", "content": "a"}]}, 400, "invalid_value"),
    (CHAT, SHORT | {"tools": [{"type": "function", "function": {"name": "a b"}}]}, 400, "invalid_value"),
    (CHAT, SHORT | {"response_format": {"type": "xml"}}, 400, "invalid_value"),
    (TEXTS, TEXT | {"logprobs": 6}, 400, "invalid_value"),
    (TEXTS, TEXT | {"prompt": ["A"] * 33}, 400, "invalid_value"),
    (TEXTS, TEXT | {"prompt": ["A", 1]}, 400, "invalid_value"),
    (TEXTS, TEXT | {"max_tokens": -1}, 400, "invalid_value"),
    (CHAT, SHORT | {"reasoning_effort": "huge"}, 400, "invalid_value"),
    ("/v1/responses/input_tokens", {"model": "guide", "input": "a", "temperature": 1}, 400, "unknown_parameter"),
    (RESPONSES, ITEMS | {"input": [{"type": "web_search_call", "id": "a", "status": "completed"}]}, 400,
     "unsupported_parameter"),
    (RESPONSES, ITEMS | {"tools": [{"type": "web_search"}]}, 400, "unsupported_parameter"),
    (RESPONSES, ITEMS | {"metadata": {"a": 1}}, 400, "invalid_value"),
    ("/v1/embeddings", {"model": "bert-mean", "input": ""}, 400, "invalid_value"),
    ("/v1/rerank", {"model": "bert-rank", "query": "a", "documents": [1]}, 400, "invalid_value"),
    ("/v1/tokenize", {"prompt": 1}, 400, "invalid_value"),
    ("/v1/detokenize", {"tokens": ["a"]}, 400, "invalid_value"),
    ("/v1/moderations", {"input": [1]}, 400, "invalid_value"),
]
# Their shape is right, and what they ask for cannot be had.
REFUSED_FOR_OTHER_REASONS = [
    (CHAT, SHORT | {"model": "nobody"}, 404, "model_not_found"),
    (CHAT, SHORT | {"model": "bert-mean"}, 400, "invalid_value"),
    (CHAT, SHORT | {"messages": [{"role": "user", "content": "word " * 4000}]}, 400, "context_length_exceeded"),
    (CHAT, SHORT | {"top_logprobs": 2}, 400, "invalid_value"),
    (TEXTS, TEXT | {"max_tokens": 0}, 400, "invalid_value"),
    (CHAT, SHORT | {"guided_regex": "("}, 400, "invalid_value"),
    (RESPONSES, ITEMS | {"previous_response_id": "resp_1"}, 404, "not_found"),
    ("/v1/embeddings", {"model": "guide", "input": "a"}, 400, "invalid_value"),
    ("/v1/detokenize", {"tokens": [4_294_967_295]}, 400, "invalid_value"),
]
# What clients send that looks wrong and is right.
TAKEN = [
    (CHAT, SHORT | {"tools": None, "stop": None, "n": None, "user": 7, "metadata": {"a": [1]}}),
    (CHAT, SHORT | {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "colour": None}]},
                                 {"role": "assistant", "content": "b", "refusal": None, "audio": None,
                                  "annotations": [], "tool_calls": []}, *SAID]}),
    (RESPONSES, ITEMS | {"input": [{"role": "user", "content": "a"}, {"type": "reasoning", "summary": []},
                                   {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}),
    (MESSAGES, SHORT | {"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}),
    ("/v1/embeddings", {"model": "bert-mean", "input": ["a", [1]]}),
]


def request_shape(path):
    return document()["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


@pytest.mark.parametrize(("path", "body", "status", "code"), REFUSED)
def test_what_the_shapes_exclude_is_refused(path, body, status, code):
    assert wrong(request_shape(path), body) != []
    assert check("POST", path, send("POST", path, body), status)["error"]["code"] == code


@pytest.mark.parametrize(("path", "body", "status", "code"), REFUSED_FOR_OTHER_REASONS)
def test_what_the_shapes_cannot_say_is_refused_in_its_shape(path, body, status, code):
    assert wrong(request_shape(path), body) == []
    assert check("POST", path, send("POST", path, body), status)["error"]["code"] == code


@pytest.mark.parametrize(("path", "body"), TAKEN + WHOLE)
def test_what_is_answered_is_within_the_shapes(path, body):
    assert wrong(request_shape(path), body) == []
    check("POST", path, send("POST", path, body))


def test_refusals_of_messages_have_the_shape_of_their_clients():
    answer = check("POST", MESSAGES, send("POST", MESSAGES, SHORT | {"max_tokens": 0}), 400)
    assert answer["error"]["details"] == {"error_code": "invalid_value", "param": "max_tokens"}
    check("POST", MESSAGES, send("POST", MESSAGES, SHORT, headers={}), 401)
    check("POST", MESSAGES, send("POST", MESSAGES, SHORT | {"model": "nobody"}), 404)


def test_refusals_of_heads_and_limits_have_their_shapes():
    check("POST", CHAT, send("POST", CHAT, SHORT, headers={}), 401)
    check("GET", "/metrics", send("GET", "/metrics", headers={}), 401)
    limited = {"authorization": f"Bearer {os.environ['STRONGROOM_LIMITED_KEY']}"}
    check("GET", "/metrics", send("GET", "/metrics", headers=limited), 403)
    answers = [send("POST", CHAT, SHORT, headers=limited) for _ in range(2)]
    check("POST", CHAT, answers[-1], 429)
    assert answers[-1].headers["retry-after"]


def test_models_are_told_in_the_shape_of_whoever_asks():
    theirs = KEY | {"anthropic-version": "2023-06-01"}
    for path, at in (("/v1/models", "/v1/models"), ("/v1/models/{id}", "/v1/models/guide")):
        assert "object" in check("GET", path, send("GET", at))
        assert "object" not in check("GET", path, send("GET", at, headers=theirs))
    page = check("GET", "/v1/models", send("GET", "/v1/models?limit=1", headers=theirs))
    following = send("GET", f"/v1/models?limit=1&after_id={page['last_id']}", headers=theirs)
    assert check("GET", "/v1/models", following)["data"] != page["data"]
    check("GET", "/v1/models", send("GET", "/v1/models?limit=0", headers=theirs), 400)
    check("GET", "/v1/models/{id}", send("GET", "/v1/models/nobody", headers=theirs), 404)
    check("GET", "/v1/models/{id}", send("GET", "/v1/models/nobody"), 404)


def test_a_request_that_comes_again_is_answered_as_the_specification_says():
    named = KEY | {"idempotency-key": uuid.uuid4().hex}
    first = check("POST", TEXTS, send("POST", TEXTS, TEXT, headers=named))
    again = send("POST", TEXTS, TEXT, headers=named)
    assert check("POST", TEXTS, again) == first
    assert again.headers["idempotency-replayed"] == "true"
    other = check("POST", TEXTS, send("POST", TEXTS, TEXT | {"max_tokens": 3}, headers=named), 400)
    assert other["error"]["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("what", ["usage/completions", "usage/embeddings", "usage/moderations", "costs"])
def test_what_was_used_is_summed_up_in_its_shape(what):
    path, begin = f"/v1/organization/{what}", int(time.time()) - 86_400
    books = {"authorization": f"Bearer {os.environ['STRONGROOM_BOOKS_KEY']}"}
    by = "line_item" if what == "costs" else "model"
    page = send("GET", f"{path}?start_time={begin}&limit=2&group_by=user_id&group_by={by}", headers=books)
    assert check("GET", path, page)["data"]
    for query in ("", f"?start_time={begin}&limit=0", f"?start_time={begin}&colour=1"):
        check("GET", path, send("GET", path + query, headers=books), 400)
    check("GET", path, send("GET", f"{path}?start_time={begin}"), 403)


def test_what_is_never_done_is_refused_as_the_specification_says():
    check("POST", RESPONSES + "/compact", send("POST", RESPONSES + "/compact", {"model": "guide"}), 404)
    coded = send("POST", CHAT, SHORT, headers=KEY | {"content-encoding": "gzip"})
    assert check("POST", CHAT, coded, 415)["error"]["param"] == "content-encoding"


def test_a_shape_that_is_closed_finds_what_is_too_much():
    model = {"id": "a", "object": "model", "created": 1, "owned_by": "strongroom"}
    assert len(wrong(of("Model"), model)) == 3, "what is missing"
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "prompt_tokens_details": {"cached_tokens": 0}}
    assert wrong(of("Usage"), usage) == []
    assert wrong(of("Usage"), usage | {"colour": 1}) != []
    assert shapes()["Usage"]["additionalProperties"] is False
