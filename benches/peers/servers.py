"""Asks Strongroom's server and those of llama.cpp the same, in turns, and writes what people would wait for.

They are llama-cpp-python's own (`python -m llama_cpp.server`) and llama-server of the same source, with and
without its repacking. Called by `benches/peers/run servers`, which builds them; the options are those of
that command.
"""

import argparse
import http.client
import importlib.metadata
import json
import math
import os
import pathlib
import random
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

PASSWORD = "nine herons beside the old mill"
LISTENING = re.compile(r"listening https://([\d.]+):(\d+)")
READY_S = 300
# llama-cpp-python's server answers one after the other.
ANSWER_S = 3600
US, PYTHON = "strongroom", "llama-cpp-python's server"
NATIVE, PLAIN = "llama-server", "llama-server, no repacking"
SETTINGS = """
[limits.person]
requests_per_minute = 0
tokens_per_minute = 0
tokens_per_day = 0
concurrent = 0
[limits.key]
requests_per_minute = 0
tokens_per_minute = 0
tokens_per_day = 0
concurrent = 0
"""
WORDS = ("river stone letter morning market engine paper window garden winter harbour number question "
         "answer teacher village mountain record office summer bridge candle").split()


class Server:
    """A server that runs, and what it is asked with."""

    def __init__(self, command, log):
        # What llama-cpp-python's server would read from there.
        surroundings = {name: value for name, value in os.environ.items()
                        if name not in ("HOST", "PORT", "CONFIG_FILE")}
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=log, text=True, env=surroundings)
        self.headers, self.context = {"content-type": "application/json"}, None

    def connect(self):
        if self.context is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_S)
        return http.client.HTTPSConnection(self.host, self.port, timeout=ANSWER_S, context=self.context)

    def wait(self, path):
        """Until it answers that it is ready."""
        begun = time.monotonic()
        while time.monotonic() - begun < READY_S and self.process.poll() is None:
            try:
                connection = self.connect()
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.2)
        self.stop()
        sys.exit(f"a server is not ready: {self.process.args[0]}")

    def peak_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def stop(self):
        self.process.terminate()
        self.process.wait()


def ours(options, home, log):
    data, key = home / "data", home / "key"
    (home / "password").write_text(PASSWORD + "\n")
    (home / "settings.toml").write_text(
        f"[engine]\nthreads = {options.threads}\nstreams_max = {max(options.streams)}\n"
        f"queue_max = {4 * max(options.streams)}\nkv_budget_mib = {options.cache}\n{SETTINGS}")
    subprocess.run([options.binary, "init", "--data-dir", data, "--owner", "olivia", "--password-file",
                    home / "password", "--api-key-file", key], check=True, stdout=subprocess.DEVNULL,
                   stderr=log)
    server = Server([options.binary, "serve", "--data-dir", data, "--listen", "127.0.0.1:0", "--config",
                     home / "settings.toml", "--model", options.model], log)
    found = next((found for line in server.process.stdout if (found := LISTENING.search(line))), None)
    if not found:
        sys.exit("strongroom does not start")
    # It says more later, and must not wait for somebody to read it.
    threading.Thread(target=lambda: server.process.stdout.read(), daemon=True).start()
    server.host, server.port = found[1], int(found[2])
    server.context = ssl.create_default_context(cafile=data / "tls/ca.pem")
    server.headers |= {"authorization": f"Bearer {key.read_text().strip()}"}
    return server.wait("/readyz")


def theirs(options, log, path, command):
    """A server of theirs, on a port that was free; `command` is told the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server([*command, "--host", "127.0.0.1", "--port", str(port)], log)
    threading.Thread(target=lambda: server.process.stdout.read(), daemon=True).start()
    server.host, server.port = "127.0.0.1", port
    return server.wait(path)


def native(options, log, repack):
    streams = max(options.streams)
    return theirs(options, log, "/health", [
        options.peer, "--model", options.model, "--threads", str(options.threads), "--parallel", str(streams),
        "--ctx-size", str(streams * options.room), *([] if repack else ["--no-repack"])])


def python(options, log):
    # By its defaults it breaks an answer off when somebody else asks, and keeps the logits of every token
    # of its context.
    return theirs(options, log, "/v1/models", [
        sys.executable, "-m", "llama_cpp.server", "--model", options.model, "--n_ctx", str(options.room),
        "--n_threads", str(options.threads), "--n_threads_batch", str(options.threads),
        "--interrupt_requests", "false", "--logits_all", "false", "--verbose", "false"])


def counted(server, options, words, chance):
    """Tokens of a few prompts of so many words, as the model cuts them."""
    counts = []
    for _ in range(50):
        connection = server.connect()
        body = {"model": options.model.stem, "prompt": prompt(chance, words)}
        connection.request("POST", "/v1/tokenize", json.dumps(body), server.headers)
        answer = connection.getresponse()
        told = json.loads(answer.read())
        if answer.status != 200:
            sys.exit(f"a prompt cannot be counted: {told}")
        counts.append(told["count"])
    return counts


def measure(server, options, chance):
    """How many words a prompt has, and the tokens of one request with its answer, at most."""
    sample = 100
    a_word = statistics.mean(counted(server, options, sample, chance)) / sample
    options.words = max(1, round(options.prompt / a_word))
    longest = max(counted(server, options, options.words, chance))
    options.room = longest + longest // 8 + options.answer + 16


def prompt(chance, words):
    """Words of chance; no two prompts begin alike."""
    return " ".join([str(chance.randrange(10**6)), *(chance.choice(WORDS) for _ in range(words))])


def ask(server, body, told, begin):
    """Streams one answer; notes when its first word came and how many tokens there were."""
    connection = server.connect()
    try:
        connection.connect()
    except OSError as error:
        told.append(f"a server cannot be reached any more: {error}")
        begin.wait()
        return
    begin.wait()
    begun = time.perf_counter()
    connection.request("POST", "/v1/completions", json.dumps(body), server.headers)
    answer = connection.getresponse()
    if answer.status != 200:
        told.append(f"refused with {answer.status}: {answer.read(300).decode(errors='replace')}")
        return
    first, usage, finish = None, {}, None
    for line in answer:
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        chunk = json.loads(line[6:])
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices", []):
            finish = choice.get("finish_reason") or finish
            if first is None and choice.get("text"):
                first = time.perf_counter() - begun
    # Not all of them count what they stream; an answer that its length ended has all that was asked for.
    if first is None or finish != "length" or usage.get("completion_tokens", body["max_tokens"]) != body["max_tokens"]:
        told.append(f"an answer that ended by {finish}, after {usage}")
        return
    told.append((first, usage.get("prompt_tokens")))


def wave(server, options, streams, chance):
    """All at once; what each waited, and tokens a second of all together."""
    told, begin = [], threading.Barrier(streams + 1)
    bodies = [{"model": options.model.stem, "prompt": prompt(chance, options.words), "temperature": 0,
               "max_tokens": options.answer, "stream": True, "stream_options": {"include_usage": True},
               "logit_bias": {str(options.never): -100}} for _ in range(streams)]
    threads = [threading.Thread(target=ask, args=(server, body, told, begin)) for body in bodies]
    for thread in threads:
        thread.start()
    begin.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - begun
    if wrong := [one for one in told if isinstance(one, str)]:
        sys.exit(wrong[0])
    if len(told) != streams:
        sys.exit("an answer is missing")
    return {"first": [first for first, _ in told], "tok_s": streams * options.answer / taken, "read": told[0][1]}


def tried(name, start, options, chance):
    """One of theirs that has answered once; none where its process ended over that."""
    server = None
    try:
        server = start()
        wave(server, options, 1, chance)
        return server
    except SystemExit:
        if server and server.process.poll() is None:
            server.stop()
            raise
        print(f"{name} breaks off", file=sys.stderr, flush=True)
        return None


def percentile(values, share):
    values = sorted(values)
    return values[max(0, math.ceil(share * len(values)) - 1)]


def table(options, waves, peaks):
    lines = ["| at once | | tokens/s in total | first word, p50 | p99 |", "| ---: | --- | ---: | ---: | ---: |"]
    ratios = []
    for streams in options.streams:
        middle = {}
        for name in peaks:
            found = waves[name, streams]
            firsts = [first for one in found for first in one["first"]]
            rates = [one["tok_s"] for one in found]
            middle[name] = statistics.median(rates), percentile(firsts, 0.5)
            lines.append(f"| {streams} | {name} | {middle[name][0]:.1f} ({min(rates):.1f}–{max(rates):.1f}) "
                         f"| {middle[name][1]:.2f} s | {percentile(firsts, 0.99):.2f} s |")
        others = [middle[name] for name in peaks if name != US]
        ratios.append(
            f"{streams} at once: {middle[US][0] / max(rate for rate, _ in others):.2f} × the tokens and "
            f"{middle[US][1] / min(first for _, first in others):.2f} × the wait of the best of theirs.")
        if python := middle.get(PYTHON):
            ratios.append(f"Of {PYTHON}: {middle[US][0] / python[0]:.2f} × and {middle[US][1] / python[1]:.2f} ×.")
    memory = ", ".join(f"{name} {peak:.0f} MiB" for name, peak in peaks.items())
    read = waves[US, options.streams[0]][0]["read"]
    lines += ["", *ratios, "", f"Peak memory: {memory}.", "",
              f"{read} tokens of prompt and {options.answer} of answer each, {options.threads} threads, "
              f"{options.rounds} rounds in turns; {options.model.name}; llama.cpp as in llama-cpp-python "
              f"{importlib.metadata.version('llama-cpp-python')}. Strongroom over TLS with all controls on."]
    return "\n".join(lines) + "\n"


def numbers(text):
    return [int(one) for one in text.split(",")]


def options_of(arguments):
    parser = argparse.ArgumentParser(prog="benches/peers/run servers")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="a GGUF file")
    parser.add_argument("--streams", type=numbers, default=[1, 8, 32], help="so many at once, with commas between")
    parser.add_argument("--prompt", type=int, default=280, help="tokens, about")
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=int, default=2048, help="MiB that Strongroom may keep of keys and values")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--never", type=int, default=2, help="the token that ends an answer, which is forbidden")
    parser.add_argument("--binary", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if min(*options.streams, options.answer, options.rounds, options.threads, options.prompt - 8) < 1:
        parser.error("all numbers are at least 1, and a prompt has 9 tokens at least")
    return options


def main():
    options = options_of(sys.argv[1:])
    chance = random.Random(7)
    servers = {}
    with tempfile.TemporaryDirectory(prefix="strongroom-peers-") as home, \
            (options.folder / "servers.log").open("wb") as log:
        try:
            servers[US] = ours(options, pathlib.Path(home), log)
            measure(servers[US], options, chance)
            wave(servers[US], options, 1, chance)  # pages that were never touched
            for name, start in {PYTHON: lambda: python(options, log), NATIVE: lambda: native(options, log, True),
                                PLAIN: lambda: native(options, log, False)}.items():
                if server := tried(name, start, options, chance):
                    servers[name] = server
            if len(servers) == 1:
                sys.exit("none of theirs runs here")
            waves = {(name, streams): [] for name in servers for streams in options.streams}
            for number in range(options.rounds):
                for streams in options.streams:
                    for name in list(servers) if number % 2 == 0 else reversed(list(servers)):
                        print(f"round {number + 1} of {options.rounds}, {streams} at once: {name}",
                              file=sys.stderr, flush=True)
                        waves[name, streams].append(wave(servers[name], options, streams, chance))
            peaks = {name: server.peak_mib() for name, server in servers.items()}
        finally:
            for server in servers.values():
                server.stop()
    result = options.folder / "servers.md"
    result.write_text(table(options, waves, peaks))
    print(result.read_text(), end="")
    print(f"written to {result}", file=sys.stderr)


if __name__ == "__main__":
    main()
