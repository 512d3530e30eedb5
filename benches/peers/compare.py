"""Runs the same model files through Strongroom and llama.cpp, in turns, and writes what came out.

Called by `benches/peers/run`, which installs what it needs; the options are those of that command.
"""

import argparse
import ctypes
import importlib.metadata
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time

PROMPT = 512
ANSWER = 128
WARM = 64
# Tokens that are judged together; as `strongroom bench --text`.
WINDOW = 512
# What is measured, in the order of the table: tokens of the prompt, or answers at once.
READ, ALONE = f"pp{PROMPT}", f"tg{ANSWER}"
LONGEST_RUN_S = 900
US, THEM, PLAIN = "strongroom", "llama.cpp", "llama.cpp, no repacking"
FTYPES = {"q4_0": "LLAMA_FTYPE_MOSTLY_Q4_0", "q8_0": "LLAMA_FTYPE_MOSTLY_Q8_0",
          "q4_k_m": "LLAMA_FTYPE_MOSTLY_Q4_K_M"}


def together(streams):
    return ALONE if streams == 1 else f"tg{ANSWER}, {streams} at once"


# --- llama.cpp, in a process of its own ------------------------------------------------------------


def quiet():
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p())
    quiet.kept = silent
    llama_cpp.llama_backend_init()
    return llama_cpp


class Theirs:
    """A model in llama.cpp, through its own functions: nothing of Python is timed but the loop."""

    def __init__(self, path, threads, repack):
        self.lib = quiet()
        self.threads = threads
        parameters = self.lib.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.use_extra_bufts = repack
        self.model = self.lib.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.model:
            sys.exit(f"llama.cpp does not load {path}")
        self.vocabulary = self.lib.llama_vocab_n_tokens(self.lib.llama_model_get_vocab(self.model))
        self.chance = random.Random(7)

    def context(self, streams, tokens):
        parameters = self.lib.llama_context_default_params()
        parameters.n_ctx = streams * (tokens + 64)
        parameters.n_batch = parameters.n_ubatch = 512
        parameters.n_seq_max = streams
        parameters.n_threads = parameters.n_threads_batch = self.threads
        context = self.lib.llama_init_from_model(self.model, parameters)
        if not context:
            sys.exit("llama.cpp has no room for its context")
        return context

    def word(self):
        return self.chance.randrange(259, self.vocabulary)

    def decode(self, context, batch, rows):
        """Computes rows of (token, position, stream); those with logits are the last of a stream."""
        batch.n_tokens = len(rows)
        for at, (token, position, stream, wanted) in enumerate(rows):
            batch.token[at], batch.pos[at] = token, position
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, stream
            batch.logits[at] = wanted
        if self.lib.llama_decode(context, batch) != 0:
            sys.exit("llama.cpp failed to compute")
        self.lib.llama_synchronize(context)

    def best(self, context, row):
        import numpy

        logits = self.lib.llama_get_logits_ith(context, row)
        return int(numpy.ctypeslib.as_array(logits, shape=(self.vocabulary,)).argmax())

    def read(self, context, batch, tokens):
        rows = [(self.word(), at, 0, at + 1 == tokens) for at in range(tokens)]
        begun = time.perf_counter()
        self.decode(context, batch, rows)
        self.best(context, tokens - 1)
        taken = time.perf_counter() - begun
        self.lib.llama_memory_clear(self.lib.llama_get_memory(context), True)
        return tokens / taken

    def write(self, streams):
        context = self.context(streams, ANSWER + 2)
        batch = self.lib.llama_batch_init(max(streams, WARM), 0, 1)
        self.read(context, batch, WARM)
        tokens = [self.word() for _ in range(streams)]
        begun = None
        for position in range(ANSWER + 1):
            self.decode(context, batch, [(tokens[s], position, s, True) for s in range(streams)])
            tokens = [self.best(context, row) for row in range(streams)]
            # The first token belongs to the prompt.
            begun = begun or time.perf_counter()
        taken = time.perf_counter() - begun
        self.lib.llama_batch_free(batch)
        self.lib.llama_free(context)
        return streams * ANSWER / taken

    def measure(self, streams):
        context = self.context(1, PROMPT)
        batch = self.lib.llama_batch_init(PROMPT, 0, 1)
        self.read(context, batch, WARM)
        found = {READ: self.read(context, batch, PROMPT)}
        self.lib.llama_batch_free(batch)
        self.lib.llama_free(context)
        for count in streams:
            found[together(count)] = self.write(count)
        return found


    def tokens_of(self, text):
        """As our tokenizer is asked: with what begins a text, and no marks in it."""
        lib, vocabulary = self.lib, self.lib.llama_model_get_vocab(self.model)
        data = text.encode()
        room = (lib.llama_token * (len(data) + 2))()
        count = lib.llama_tokenize(vocabulary, data, len(data), room, len(room), True, False)
        if count < 0:
            sys.exit("llama.cpp has no room for the tokens of the text")
        return list(room[:count])

    def judge(self, text):
        """The perplexity over the second half of each window, as `strongroom bench --text` has it."""
        import numpy

        tokens, first = self.tokens_of(text), self.tokens_of("")
        window = min(WINDOW, self.lib.llama_model_n_ctx_train(self.model))
        own = window - len(first)
        context = self.context(1, window)
        batch = self.lib.llama_batch_init(window, 0, 1)
        lacking, judged = 0.0, 0
        for begin in range(len(first), len(tokens) - own + 1, own):
            part = first + tokens[begin:begin + own]
            rows = [(token, at, 0, at >= window // 2) for at, token in enumerate(part)]
            self.lib.llama_memory_clear(self.lib.llama_get_memory(context), True)
            self.decode(context, batch, rows)
            for at in range(window // 2, window - 1):
                logits = self.lib.llama_get_logits_ith(context, at)
                row = numpy.ctypeslib.as_array(logits, shape=(self.vocabulary,)).astype(numpy.float64)
                highest = row.max()
                lacking += highest + numpy.log(numpy.exp(row - highest).sum()) - row[part[at + 1]]
                judged += 1
        if not judged:
            sys.exit(f"the text has {len(tokens)} tokens, fewer than a window of {window}")
        return {"perplexity": float(numpy.exp(lacking / judged)), "tokens": judged, "window": window}


def quantize(source, target, kind, threads):
    lib = quiet()
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = getattr(lib, FTYPES[kind])
    parameters.nthread = threads
    if lib.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters)):
        sys.exit(f"llama.cpp does not make {target}")


# --- both, in turns ------------------------------------------------------------------------------


def run(command, may_break=False):
    """The output of a command that has an end; none where it may break and was ended by a signal."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=LONGEST_RUN_S, check=True)
    except subprocess.TimeoutExpired:
        sys.exit(f"took longer than {LONGEST_RUN_S} s: {' '.join(map(str, command))}")
    except subprocess.CalledProcessError as error:
        if may_break and error.returncode < 0:
            tell(f"ended by signal {-error.returncode}")
            return None
        sys.exit(f"failed with {error.returncode}: {' '.join(map(str, command))}")
    return done.stdout


def again(*words):
    return [sys.executable, __file__, *map(str, words)]


def files(options):
    """Makes the files that are not there yet: F16 by our generator, the rest by llama.cpp."""
    folder = options.folder / "files"
    folder.mkdir(parents=True, exist_ok=True)
    for shape in options.shapes:
        layers = ["--layers", options.layers] if options.layers else []
        stem = f"{shape}-{options.layers}-layers" if options.layers else shape
        named = {kind: folder / f"{stem}-{kind}.gguf" for kind in options.types}
        missing = {kind: path for kind, path in named.items() if not path.exists()}
        if missing:
            source = folder / f"{stem}-f16.part"
            source.unlink(missing_ok=True)
            tell(f"making {', '.join(path.name for path in missing.values())}")
            run([options.binary, "bench", "--shape", shape, "--type", "f16", *map(str, layers),
                 "--write", source])
            for kind, path in missing.items():
                part = path.with_suffix(".part")
                run(again("--quantize", source, part, kind, "--threads", options.threads))
                part.rename(path)
            source.unlink()
        yield from named.values()


def ours(path, options):
    streams = ",".join(map(str, options.streams))
    report = json.loads(run([options.binary, "bench", "--model", path, "--threads", str(options.threads),
                             "--prompts", str(PROMPT), "--streams", streams, "--runs", "1", "--json"]))
    found = {READ: next(one["tok_s"] for one in report["prefill"] if one["tokens"] == PROMPT)}
    for one in report["decode"]:
        if one["context"] == 0:
            found[together(one["streams"])] = one["tok_s"]
    return found, report


def theirs(path, options, repack):
    words = ["--peer", path, "--threads", options.threads,
             "--streams", ",".join(map(str, options.streams))]
    # With tiles of bytes it may not run at all: then there is its other way alone.
    found = run(again(*words, *([] if repack else ["--no-repack"])), may_break=repack)
    return found and json.loads(found)


def measured(path, options):
    """What each program gave in every round; who comes first changes."""
    report = None
    rounds = {US: [], THEM: [], PLAIN: []}
    for number in range(options.rounds):
        turns = [US, THEM, PLAIN]
        for name in turns if number % 2 == 0 else reversed(turns):
            if name not in rounds:
                continue
            tell(f"{path.name}, round {number + 1} of {options.rounds}: {name}")
            if name == US:
                found, report = ours(path, options)
            else:
                found = theirs(path, options, name == THEM)
            if found is None:
                del rounds[name]
            else:
                rounds[name].append(found)
    return rounds, report


def judged(options):
    """A table of what the models expect of a text, by both; each model as it is and in each type."""
    folder = options.folder / "files"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"Perplexity over {options.text.name}, in windows of {WINDOW} tokens, the second half of each "
             "judged. llama.cpp as in llama-cpp-python "
             f"{importlib.metadata.version('llama-cpp-python')}.\n",
             f"| model | tokens | {US} | {THEM} | difference | {US}, cache in q8_0 |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for model in options.models:
        made = {kind: folder / f"{model.stem}-{kind}.gguf" for kind in options.types}
        for kind, path in made.items():
            if not path.exists():
                part = path.with_suffix(".part")
                run(again("--quantize", model, part, kind, "--threads", options.threads))
                part.rename(path)
        for path in (model, *made.values()):
            tell(f"{path.name}: judging {options.text.name}")
            judge = [options.binary, "bench", "--model", path, "--text", options.text, "--json",
                     "--threads", str(options.threads)]
            us, bytes_ = json.loads(run(judge)), json.loads(run([*judge, "--kv", "q8_0"]))
            judge = again("--judge", path, "--text", options.text, "--threads", options.threads)
            # As with speed: with tiles of bytes it may not run at all.
            them = json.loads(run(judge, may_break=True) or run([*judge, "--no-repack"]))
            if us["tokens"] != them["tokens"]:
                sys.exit(f"{path.name}: {us['tokens']} tokens judged by us, {them['tokens']} by llama.cpp")
            ours, theirs, kept = us["perplexity"], them["perplexity"], bytes_["perplexity"]
            lines.append(f"| {path.name} | {us['tokens']} | {ours:.4f} | {theirs:.4f} "
                         f"| {100 * (ours / theirs - 1):+.3f} % | {100 * (kept / ours - 1):+.3f} % |")
    return "\n".join(lines) + "\n"


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def table(path, rounds):
    """One row for each figure; the ratio is to the better of llama.cpp's two ways."""
    lines = [f"\n### {path.name}, {path.stat().st_size / 1e6:.0f} MB\n",
             f"| tokens/s | {US} | {THEM} | {PLAIN} | ratio to the better |",
             "| --- | ---: | ---: | ---: | ---: |"]
    for figure in rounds[US][0]:
        values = {name: [one[figure] for one in found] for name, found in rounds.items()}
        them = [name for name in (THEM, PLAIN) if name in values]
        best = max(them, key=lambda name: statistics.median(values[name]))
        middle = statistics.median(values[US]) / statistics.median(values[best])
        ratios = [us / them for us, them in zip(values[US], values[best])]
        cells = " | ".join(spread(values[name]) if name in values else "breaks off" for name in (US, THEM, PLAIN))
        lines.append(f"| {figure} | {cells} | {middle:.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |")
    return "\n".join(lines)


def head(options, report):
    machine, limits = report["machine"], report["limits"]
    return (
        f"{machine['processor']}, {options.threads} threads; {limits['read_gb_s']:.1f} GB/s read, "
        f"{limits['int8_gop_s']:.0f} Gop/s with bytes ({limits['int8_instructions']}). "
        f"Strongroom {report['strongroom']}; llama.cpp as in llama-cpp-python "
        f"{importlib.metadata.version('llama-cpp-python')}, built for this machine. Weights of chance. "
        f"Median of {options.rounds} rounds in turns (least–most); ratios are taken in each round.")


def tell(text):
    print(text, file=sys.stderr, flush=True)


def numbers(text):
    return [int(number) for number in text.split(",")]


def options_of(arguments):
    parser = argparse.ArgumentParser(prog="benches/peers/run")
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=["1b", "0.6b"])
    parser.add_argument("--types", type=lambda text: text.split(","), default=list(FTYPES),
                        help="q4_0, q8_0, q4_k_m")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--streams", type=numbers, default=[1, 8, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, help="so many alone, for a quick look")
    parser.add_argument("--text", type=pathlib.Path,
                        help="measure no speed, but the perplexity of --models over this file")
    parser.add_argument("--models", type=lambda text: [pathlib.Path(one) for one in text.split(",")],
                        help="files in F32 or F16; each is judged so and in each of --types")
    parser.add_argument("--binary", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    # What a process of its own does.
    parser.add_argument("--peer", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--no-repack", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--quantize", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--judge", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if unknown := set(options.types) - set(FTYPES):
        parser.error(f"there is no type {', '.join(sorted(unknown))}; there are {', '.join(FTYPES)}")
    if bool(options.text) != bool(options.models or options.judge):
        parser.error("--text and --models belong together")
    if options.rounds < 1 or options.threads < 1 or min(options.streams) < 1:
        parser.error("rounds, threads and streams are at least 1")
    return options


def main():
    options = options_of(sys.argv[1:])
    if options.quantize:
        source, target, kind = options.quantize
        return quantize(source, target, kind, options.threads)
    if options.peer:
        model = Theirs(options.peer, options.threads, not options.no_repack)
        return print(json.dumps(model.measure(options.streams)))
    if options.judge:
        text = options.text.read_text()
        return print(json.dumps(Theirs(options.judge, options.threads, not options.no_repack).judge(text)))
    if options.text:
        result = options.folder / "perplexity.md"
        result.write_text(judged(options))
        print(result.read_text(), end="")
        return tell(f"written to {result}")
    parts = []
    result = options.folder / "peers.md"
    for path in list(files(options)):
        rounds, report = measured(path, options)
        parts = parts or [head(options, report)]
        parts.append(table(path, rounds))
        # After each file: who ends it early keeps what there is.
        result.write_text("\n".join(parts) + "\n")
    print(result.read_text(), end="")
    tell(f"written to {result}")


if __name__ == "__main__":
    main()
