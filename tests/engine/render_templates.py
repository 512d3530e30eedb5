#!/usr/bin/env python3
"""Renders chat templates with Jinja2 in the environment of transformers, for comparison.

    render_templates.py FOLDER

Writes a line of JSON for each template and conversation: `template`, `case`, `names` (what is in
scope), and `text`, or `refusal` (what the template said by raise_exception), or `error`.
"""

import datetime
import json
import sys
from pathlib import Path

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2026, 3, 5)
BOS = EOS = "<|endoftext|>"


class Refusal(jinja2.exceptions.TemplateError):
    pass


class Generation(Extension):
    """`{% generation %}`: marks what the model wrote; prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(line)

    def body(self, caller):
        return caller()


def refuse(message):
    raise Refusal(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def environment():
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = NOW.strftime
    return made


def function(name, description, properties, required):
    parameters = {"type": "object", "properties": properties, "required": required}
    described = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": described}


WEATHER = function(
    "get_weather",
    "The weather of a place, \"now\" or later.\nIn °C — <or> °F & so on.",
    {
        "place": {"type": "string", "description": "A city, such as Zürich or 東京"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "integer", "minimum": 0, "maximum": 14},
        "fine": {"type": ["number", "null"], "default": 0.5},
    },
    ["place"],
)
SEARCH = function(
    "search",
    "",
    {
        "query": {"type": "string"},
        "filters": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "exact": {"type": "boolean"}},
                "required": ["field"],
            },
        },
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    },
    ["query", "filters"],
)
BARE = {"type": "function", "function": {
    "name": "stop", "description": "Ends it.", "parameters": {"type": "object", "properties": {}}}}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def call(name, arguments, at=1):
    return {"id": f"call{at:05}", "type": "function",
            "function": {"name": name, "arguments": arguments}}


SYSTEM = say("system", "You are terse.")
HI, BYE = say("user", "Hi there"), say("user", "And now?")
ODD = "  \t naïve \u200b\u0301 x\u0000y \U0001f469\u200d\U0001f680 𝒳 العربية \u2028 <b>&amp;'\"\\n\\u0041 {{ x }} {% if %} \r\n\n "
ARGUMENTS = {"place": "Zürich \"old\" <town>", "days": 3, "fine": 1.5, "exact": True, "none": None,
             "nested": {"a": [1, "two", {"b": False}], "empty": {}, "list": []}}
RESULT = "{\"degrees\": 21.5, \"sky\": \"clear\"}"

CONVERSATIONS = {
    "one": [HI],
    "system": [SYSTEM, HI],
    "turns": [HI, say("assistant", "Hello!"), BYE],
    "system turns": [SYSTEM, HI, say("assistant", "Hello!"), BYE, say("assistant", "Well."),
                     say("user", "Good")],
    "ends with an answer": [SYSTEM, HI, say("assistant", "Hello!")],
    "odd": [say("system", ODD), say("user", ODD), say("assistant", ODD), say("user", ODD)],
    "empty": [say("system", ""), say("user", ""), say("assistant", ""), say("user", "")],
    "two questions": [HI, BYE],
    "only system": [SYSTEM],
    "system in the middle": [HI, say("assistant", "Hello!"), SYSTEM, BYE],
    "answer first": [say("assistant", "Welcome."), HI],
    "reasoning": [HI, say("assistant", "Hello!", reasoning_content="They greet.\nSo do I.\n"), BYE],
    "reasoning last": [SYSTEM, HI,
                       say("assistant", "Hello!", reasoning_content="\nThey greet.\n\n")],
    "thinking": [HI, say("assistant", "Hello!", thinking="They greet."), BYE],
    "think in the text": [HI, say("assistant", "<think>\nThey greet.\n</think>\n\nHello!"), BYE,
                          say("assistant", "<think></think>Yes"), HI],
    "parts": [say("system", parts("You are", "terse.")), say("user", parts("Hi ", " there")),
              say("assistant", parts("Hello!")), say("user", parts(ODD, ""))],
    "no part": [say("user", [])],
    "developer": [say("developer", "Be kind."), HI],
    "names": [say("user", "Hi", name="ann"), say("assistant", "Hello", name="bot"), BYE],
    "unknown role": [HI, say("robot", "Beep"), BYE],
    "extra fields": [say("user", "Hi", weight=1.0, tags=["a", 1], id=123456789012345)],
}
CALLING = {
    "tools": [SYSTEM, HI],
    "tools without system": [HI],
    "call": [HI, say("assistant", "", tool_calls=[call("get_weather", ARGUMENTS)]),
             say("tool", RESULT, name="get_weather", tool_call_id="call00001"),
             say("assistant", "It is 21.5 degrees."), BYE],
    "call without content": [
        SYSTEM, HI, say("assistant", None, tool_calls=[call("search", {"query": "é"})]),
        say("tool", "found ü", name="search", tool_call_id="call00001")],
    "call without a content field": [
        HI, {"role": "assistant", "tool_calls": [call("stop", {})]},
        say("tool", "", name="stop", tool_call_id="call00001")],
    "calls": [
        SYSTEM, HI,
        say("assistant", "Let me look.", reasoning_content="Two calls.",
            tool_calls=[call("get_weather", {"place": "Rome"}),
                        call("search", {"query": "x", "filters": [{"field": "f"}]}, 2)]),
        say("tool", RESULT, name="get_weather", tool_call_id="call00001"),
        say("tool", "[1, 2]", name="search", tool_call_id="call00002"),
        say("assistant", "Done.", reasoning_content="That was easy."), BYE],
    "arguments as text": [
        HI, say("assistant", "", tool_calls=[call("get_weather", json.dumps(ARGUMENTS))]),
        say("tool", RESULT, name="get_weather", tool_call_id="call00001")],
    "call last": [HI, say("assistant", "", tool_calls=[call("stop", {})])],
    "result in parts": [HI, say("assistant", "", tool_calls=[call("stop", {"n": 1e-7})]),
                        say("tool", parts("a", "b"), name="stop", tool_call_id="call00001")],
    "numbers": [HI, say("assistant", "", tool_calls=[call("stop", {
        "a": 1e22, "b": 1e16, "c": 123456789.125, "d": -0.0, "e": 1e-5, "f": 2.0, "g": 10**18,
        "h": 0.1, "i": 5e-324, "j": 1.7976931348623157e308})])],
}


def cases():
    for name, messages in CONVERSATIONS.items():
        for prompt in (True, False):
            yield f"{name}, {prompt}", {"messages": messages, "add_generation_prompt": prompt}
    for name, messages in CALLING.items():
        for tools in ([WEATHER, SEARCH, BARE], None):
            for prompt in (True, False):
                yield f"{name}, {bool(tools)}, {prompt}", {
                    "messages": messages, "tools": tools, "add_generation_prompt": prompt}
    for thinking in (True, False):
        for name in ("one", "system turns", "reasoning", "reasoning last", "think in the text"):
            yield f"{name}, enable_thinking {thinking}", {
                "messages": CONVERSATIONS[name], "add_generation_prompt": True,
                "enable_thinking": thinking, "thinking": thinking}
        yield f"calls, enable_thinking {thinking}", {
            "messages": CALLING["calls"], "tools": [WEATHER], "add_generation_prompt": True,
            "enable_thinking": thinking, "thinking": thinking}
    yield "other arguments", {
        "messages": CONVERSATIONS["system turns"], "add_generation_prompt": True,
        "reasoning_effort": "high", "xml_tools": [WEATHER], "custom_instructions": "Rhyme.",
        "documents": [{"title": "A", "text": "Ä text", "doc_id": 1, "contents": "x"}],
        "model_identity": "You are a model.", "builtin_tools": ["browser"],
        "date_string": "1 Jan 2026", "citation_mode": "fast", "preserve_thinking": True}


def render(template, names):
    try:
        return {"text": template.render(**names)}
    except Refusal as refusal:
        return {"refusal": str(refusal)}
    except Exception as error:  # Whatever stops Jinja2 has to stop others.
        return {"error": f"{type(error).__name__}: {error}"}


def main(folder):
    for path in sorted(Path(folder).rglob("*.jinja")):
        source = path.read_bytes().decode()
        name = str(path.relative_to(folder))
        template = environment().from_string(source)
        for case, names in cases():
            scope = {"tools": None, "documents": None, **names}
            made = render(template, {**scope, "bos_token": BOS, "eos_token": EOS})
            line = {"template": name, "case": case, "names": scope, **made}
            print(json.dumps(line, ensure_ascii=True))


if __name__ == "__main__":
    main(sys.argv[1])
