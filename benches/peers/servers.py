"""Asks Strongroom's server and llama.cpp's the same, in turns, and writes what people would wait for.

Called by `benches/peers/run servers`, which builds both; the options are those of that command.
"""

import argparse
import http.client
import importlib.metadata
import json
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
ANSWER_S = 600
US, THEM, PLAIN = "strongroom", "llama-server", "llama-server, no repacking"
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
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=log, text=True)
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
        f"[engine]\nthreads = {options.threads}\nstreams_max = {options.streams}\n{SETTINGS}")
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


def theirs(options, log, repack):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    room = options.streams * (options.prompt + options.answer + 64)
    server = Server([options.peer, "--model", options.model, "--host", "127.0.0.1", "--port", str(port),
                     "--threads", str(options.threads), "--parallel", str(options.streams),
                     "--ctx-size", str(room), *([] if repack else ["--no-repack"])], log)
    threading.Thread(target=lambda: server.process.stdout.read(), daemon=True).start()
    server.host, server.port = "127.0.0.1", port
    return server.wait("/health")


def prompt(chance, tokens):
    """Words of chance, each about a token and its space; no two prompts begin alike."""
    return " ".join([str(chance.randrange(10**6)), *(chance.choice(WORDS) for _ in range(tokens - 6))])


def ask(server, body, told, begin):
    """Streams one answer; notes when its first word came and how many tokens there were."""
    connection = server.connect()
    connection.connect()
    begin.wait()
    begun = time.perf_counter()
    connection.request("POST", "/v1/completions", json.dumps(body), server.headers)
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(f"refused with {answer.status}: {answer.read(300).decode(errors='replace')}")
    first, usage = None, None
    for line in answer:
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        chunk = json.loads(line[6:])
        usage = chunk.get("usage") or usage
        if first is None and any(choice.get("text") for choice in chunk.get("choices", [])):
            first = time.perf_counter() - begun
    told.append((first, time.perf_counter() - begun, usage))


def wave(server, options, chance):
    """All at once; what each waited, and tokens a second of all together."""
    told, begin = [], threading.Barrier(options.streams + 1)
    bodies = [{"model": options.model.stem, "prompt": prompt(chance, options.prompt), "temperature": 0,
               "max_tokens": options.answer, "stream": True, "stream_options": {"include_usage": True},
               "logit_bias": {str(options.never): -100}} for _ in range(options.streams)]
    threads = [threading.Thread(target=ask, args=(server, body, told, begin)) for body in bodies]
    for thread in threads:
        thread.start()
    begin.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - begun
    if len(told) != options.streams or any(first is None or not usage for first, _, usage in told):
        sys.exit("an answer is missing")
    written = sum(usage["completion_tokens"] for *_, usage in told)
    read = sum(usage["prompt_tokens"] for *_, usage in told)
    return {"first": [first for first, *_ in told], "tok_s": written / taken, "read": read, "written": written}


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def table(options, waves, peaks):
    lines = ["| | tokens/s in total | first word, p50 | p99 | peak memory |", "| --- | ---: | ---: | ---: | ---: |"]
    middle = {}
    for name, found in waves.items():
        firsts = [first for one in found for first in one["first"]]
        rates = [one["tok_s"] for one in found]
        middle[name] = statistics.median(rates), percentile(firsts, 0.5)
        lines.append(f"| {name} | {middle[name][0]:.1f} ({min(rates):.1f}–{max(rates):.1f}) "
                     f"| {middle[name][1]:.2f} s | {percentile(firsts, 0.99):.2f} s | {peaks[name]:.0f} MiB |")
    best = max((THEM, PLAIN), key=lambda name: middle[name][0])
    soonest = min((THEM, PLAIN), key=lambda name: middle[name][1])
    one = waves[US][0]
    lines.append(f"\n{options.streams} streams at once, {one['read'] // options.streams} tokens of prompt and "
                 f"{one['written'] // options.streams} of answer each, {options.threads} threads, "
                 f"{options.rounds} rounds in turns; {options.model.name}; llama.cpp as in llama-cpp-python "
                 f"{importlib.metadata.version('llama-cpp-python')}. Strongroom over TLS with all controls on. Ratio "
                 f"to the better: {middle[US][0] / middle[best][0]:.2f} × the tokens, "
                 f"{middle[US][1] / middle[soonest][1]:.2f} × the wait for the first word.")
    return "\n".join(lines) + "\n"


def options_of(arguments):
    parser = argparse.ArgumentParser(prog="benches/peers/run servers")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="a GGUF file")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=280, help="tokens, about")
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--never", type=int, default=2, help="the token that ends an answer, which is forbidden")
    parser.add_argument("--binary", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if min(options.streams, options.answer, options.rounds, options.threads, options.prompt - 8) < 1:
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
            servers[THEM] = theirs(options, log, True)
            servers[PLAIN] = theirs(options, log, False)
            for server in servers.values():
                wave(server, options, chance)  # pages that were never touched
            waves = {name: [] for name in servers}
            for number in range(options.rounds):
                for name in list(servers) if number % 2 == 0 else reversed(list(servers)):
                    print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
                    waves[name].append(wave(servers[name], options, chance))
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
