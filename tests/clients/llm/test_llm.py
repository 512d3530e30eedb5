"""`llm`, the command and the library, against the real server: a file names the models, as its manual says."""

import json
import os
import pathlib
import subprocess
import sys

import llm
import pytest
from click.testing import CliRunner
from llm.cli import cli

LLM = pathlib.Path(sys.executable).with_name("llm")
MODELS = """
- model_id: strongroom
  model_name: guide-long
  api_base: "{base}"
  api_key_name: strongroom
  supports_schema: true
  supports_tools: true
- model_id: strongroom-text
  model_name: guide
  api_base: "{base}"
  api_key_name: strongroom
  completion: true
- model_id: strongroom-nobody
  model_name: nobody
  api_base: "{base}"
  api_key_name: strongroom
"""
TOOL = '''
import typing

def forecast(city: typing.Literal["Paris", "Oslo"]) -> str:
    "Tells the weather of a city."
    return f"{city}: 18 degrees"
'''
# An answer that is the same each time: with another one now and then a form would not end, or nothing be said.
SEEDED = ["-o", "seed", "7"]
# Helps the model to close brackets that nothing else would make it close.
CLOSED = {"63": 20, "95": 20}
CLOSING = ["-o", "logit_bias", json.dumps(CLOSED)]
CALLED = json.dumps(json.loads(os.environ["STRONGROOM_CALLING"]) | CLOSED)
CALLING = ["-o", "temperature", "0", "-o", "logit_bias", CALLED,
           "-o", "presence_penalty", "2", "-o", "frequency_penalty", "2"]

@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A home of its own, with the models and the key."""
    path = tmp_path_factory.mktemp("llm")
    (path / "extra-openai-models.yaml").write_text(MODELS.format(base=os.environ["OPENAI_BASE_URL"]))
    os.environ["LLM_USER_PATH"] = str(path)
    run("keys", "set", "strongroom", "--value", os.environ["OPENAI_API_KEY"])
    return path


def run(*arguments, text=None, status=0):
    """What the command prints; where it fails, what it says then. In this process: it takes seconds to load."""
    done = CliRunner().invoke(cli, arguments, input=text)
    assert done.exit_code == status, done.output
    return done.stdout if status == 0 else done.stderr


def last_log():
    return json.loads(run("logs", "-n", "1", "--json"))[0]


def test_the_command_answers_in_a_pipe():
    command = [LLM, "-m", "strongroom", "-s", "Sum it up.", "-o", "max_tokens", "20", *SEEDED]
    said = subprocess.check_output(command, input="Keys are made by people.", text=True, timeout=60)
    assert said.strip()


def test_the_models_of_the_file_are_there():
    assert "OpenAI Chat: strongroom" in run("models", "list")


def test_a_question_is_answered_streamed_and_whole():
    options = ("-m", "strongroom", "-o", "seed", "7", "-o", "max_tokens", "30")
    streamed = run(*options, "What are you?")
    assert streamed.strip()
    assert run(*options, "--no-stream", "What are you?") == streamed
    assert last_log()["response"] == streamed.removesuffix("\n")
    assert last_log()["input_tokens"] > 0 < last_log()["output_tokens"] <= 30


def test_a_text_is_continued():
    assert run("-m", "strongroom-text", "-o", "max_tokens", "12", *SEEDED, "Once upon a time").strip()


def test_a_conversation_goes_on():
    run("-m", "strongroom", "-o", "max_tokens", "20", *SEEDED, "What are you?")
    first = last_log()
    run("-c", "-o", "max_tokens", "20", *SEEDED, "And what do you keep?")
    second = last_log()
    assert second["conversation_id"] == first["conversation_id"]
    assert second["input_tokens"] > first["input_tokens"] + first["output_tokens"]


def test_people_chat_in_the_terminal():
    said = run("chat", "-m", "strongroom", "-o", "max_tokens", "20", *SEEDED, text="Hello.\nWhat are you?\nquit\n")
    assert "Chatting with strongroom" in said
    turns = json.loads(run("logs", "-c", "--json"))
    assert [turn["prompt"] for turn in turns] == ["Hello.", "What are you?"]
    assert all(turn["response"] in said for turn in turns)


@pytest.mark.parametrize("is_many", [False, True])
def test_answers_follow_a_schema(is_many):
    flag = "--schema-multi" if is_many else "--schema"
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Oslo"]}, "days": {"enum": [1, 2, 3]}},
              "required": ["city", "days"], "additionalProperties": False}
    answer = json.loads(run("-m", "strongroom", "-o", "max_tokens", "400", "-o", "seed", "2", flag, json.dumps(schema),
                            *CLOSING, "Two days in Oslo."))
    for trip in answer["items"] if is_many else [answer]:
        assert trip["city"] in ("Paris", "Oslo") and trip["days"] in (1, 2, 3)


def test_a_schema_of_the_short_form_is_taken():
    said = run("-m", "strongroom", "-o", "max_tokens", "400", *SEEDED, *CLOSING, "--schema", "is_far bool, days int",
               "Oslo, two days.")
    assert set(json.loads(said)) >= {"is_far", "days"}


def test_json_of_any_form_is_asked_for():
    said = run("-m", "strongroom", "-o", "json_object", "true", "-o", "max_tokens", "300", *SEEDED, *CLOSING,
               "Oslo, two days. As JSON.")
    assert isinstance(json.loads(said), dict)


def test_a_tool_that_is_not_needed_is_not_called():
    assert run("-m", "strongroom", "--functions", TOOL, "-o", "max_tokens", "30", *SEEDED, "What are you?").strip()


def test_tools_are_called_until_the_limit_of_calls():
    # With the bias it would call for ever: its options hold for the whole chain.
    error = run("-m", "strongroom", "--functions", TOOL, "--td", "--chain-limit", "2", *CALLING,
                "The weather in Oslo?", status=1)
    assert "Tool call: forecast({'city':" in error and "18 degrees" in error
    assert "Chain limit of 2 exceeded" in error


def test_the_library_calls_a_tool_and_answers():
    def forecast(city: str) -> str:
        """Tells the weather of a city."""
        return f"{city}: 18 degrees"

    tool = llm.Tool.function(forecast)
    tool.input_schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Oslo"]}},
                         "required": ["city"], "additionalProperties": False}
    conversation = llm.get_model("strongroom").conversation()
    asked = conversation.prompt(
        "The weather in Oslo?", tools=[tool], temperature=0, logit_bias=os.environ["STRONGROOM_CALLING"],
        presence_penalty=2, frequency_penalty=2)
    calls, results = asked.tool_calls(), asked.execute_tool_calls()
    assert calls and {call.name for call in calls} == {"forecast"}
    assert all("18 degrees" in result.output for result in results)
    answer = conversation.prompt(tools=[tool], tool_results=results, temperature=0, max_tokens=40)
    assert answer.text()
    assert answer.usage().input > asked.usage().input


def test_what_goes_wrong_is_said():
    assert "There is no such model" in run("-m", "strongroom-nobody", "Hello.", status=1)
    assert "API key" in run("-m", "strongroom", "--key", "sr-" + "0" * 64, "Hello.", status=1)
    assert "temperature" in run("-m", "strongroom", "-o", "temperature", "2.5", "Hello.", status=1)
