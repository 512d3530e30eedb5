"""The code that people are shown, as they would run it: in the README, in the guide, in the web app."""

import os
import pathlib
import re

import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]


def block(page):
    text = (ROOT / page).read_text()
    return next(code for code in re.findall(r"```python\n(.*?)```", text, re.S) if "openai" in code)


def of_the_web_app():
    text = (ROOT / "static/js/account/keys.js").read_text()
    code = re.search(r"return `(.*?)`;", text, re.S).group(1)
    return code.replace("${model}", "guide").replace("${secret}", "sr-…")


SHOWN = {
    "README.md": lambda: block("README.md"),
    "docs/getting-started.md": lambda: block("docs/getting-started.md"),
    "the web app": of_the_web_app,
}


@pytest.mark.parametrize("place", SHOWN)
def test_the_code_that_is_shown_works(place, capsys):
    code = SHOWN[place]()
    for shown, real in [
        ('"sr-…"', repr(os.environ["OPENAI_API_KEY"])),
        ('"strongroom-data/tls/ca.pem"', repr(os.environ["STRONGROOM_CA"])),
        ('"ca.pem"', repr(os.environ["STRONGROOM_CA"])),
        ('"https://127.0.0.1:8443/v1"', repr(os.environ["OPENAI_BASE_URL"])),
        ('"${location.origin}/v1"', repr(os.environ["OPENAI_BASE_URL"])),
    ]:
        code = code.replace(shown, real)
    assert "…" not in code and "${" not in code, code
    names = {}
    exec(compile(code, place, "exec"), names)
    assert isinstance(names["client"], openai.OpenAI)
    assert "guide" in [model.id for model in names["client"].models.list()]
    if "answer" in names:
        assert capsys.readouterr().out.strip(), "the answer is printed"
