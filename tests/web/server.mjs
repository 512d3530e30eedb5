// Starts the real server for the browser tests, in a directory of its own.
//
//   STRONGROOM_BIN   the binary to start (default: target/debug/strongroom)
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const guide = join(root, "models/guide/guide.gguf");
const START_MS = 60_000;
const STOP_MS = 30_000;
/** Tokens that a question and an answer without an end have room for. */
const CONTEXT = 1024;
/** Of each stretch of time, the server runs this long and stands still for the rest, while it is slow. */
const RUNS_MS = 6;
const STANDS_MS = 60;

/** @returns {Promise<number>} a port that is free now */
function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = /** @type {import("node:net").AddressInfo} */ (probe.address());
      probe.close(() => resolve(port));
    });
  });
}

/**
 * The guide, but nothing that it says ends its answer: it goes on until its context is full. That is twice the
 * guide's, so that on a fast machine too an answer lasts longer than what is done in its middle.
 * @param {Buffer} file
 */
function endless(file) {
  let text = file.toString("latin1");
  for (const mark of ["<|im_end|>", "<|endoftext|>"]) text = text.replaceAll(mark, mark.replace("end", "mid"));
  const made = Buffer.from(text, "latin1");
  // After the key: the type of its value, then the value.
  const write = (/** @type {string} */ key, /** @type {number} */ value) => made.writeUInt32LE(value, made.indexOf(key) + key.length + 4);
  // Token 0 only ever fills gaps.
  write("tokenizer.ggml.eos_token_id", 0);
  write("llama.context_length", CONTEXT);
  return made;
}

/**
 * A server with three models: the guide that is built in, one that never stops by itself, and a
 * file that ends too early; and with a models directory that is empty. One failed sign-in is an alert here.
 */
export async function startServer() {
  const binary = process.env.STRONGROOM_BIN ?? join(root, "target/debug/strongroom");
  const home = mkdtempSync(join(tmpdir(), "strongroom-web-"));
  const data = join(home, "data");
  const storyteller = join(home, "storyteller.gguf");
  const broken = join(home, "broken-copy.gguf");
  const models = join(home, "models");
  mkdirSync(models);
  const whole = readFileSync(guide);
  writeFileSync(storyteller, endless(whole));
  writeFileSync(broken, whole.subarray(0, Math.floor(whole.length / 2)));
  const child = spawn(binary, ["serve", "--data-dir", data, "--listen", `127.0.0.1:${await freePort()}`,
    "--model", storyteller, "--model", broken, "--set", "models.default=guide", "--set", `models.directory=${models}`, "--set", "monitor.failed_sign_ins=1",
    "--set", "limits.person.requests_per_minute=0",
    // Else the first evaluation begins by itself five minutes after the start, which slow machines come to in the middle of the tests.
    "--set", "evals.schedule="],
  { stdio: ["ignore", "pipe", "pipe"], cwd: home });
  let output = "";
  let hasEnded = false;
  const ended = new Promise((resolve) => child.on("exit", () => { hasEnded = true; resolve(undefined); }));
  const link = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no set-up link within ${START_MS} ms:\n${output}`)), START_MS);
    const read = (/** @type {Buffer} */ chunk) => {
      output += chunk.toString("utf8");
      const found = output.match(/https:\/\/\S+\/setup#\S+/)?.[0];
      if (found) { clearTimeout(timer); resolve(found); }
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("exit", () => reject(new Error(`the server ended:\n${output}`)));
  });

  /**
   * Slows the server down for as long as the work takes, so that an answer can be met in its middle on any machine.
   * @template T
   * @param {() => Promise<T>} work
   */
  const slowly = async (work) => {
    let isSlow = true;
    let isStanding = false;
    const turn = () => {
      if (!isSlow || hasEnded) return;
      isStanding = !isStanding;
      child.kill(isStanding ? "SIGSTOP" : "SIGCONT");
      setTimeout(turn, isStanding ? STANDS_MS : RUNS_MS);
    };
    turn();
    try {
      return await work();
    } finally {
      isSlow = false;
      child.kill("SIGCONT");
    }
  };

  const stop = async () => {
    if (!hasEnded) { child.kill("SIGCONT"); child.kill("SIGTERM"); }
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(timer);
    rmSync(home, { recursive: true, force: true });
  };
  /** @param {string} name puts a copy of the guide into the models directory */
  const addModel = (name) => writeFileSync(join(models, `${name}.gguf`), whole);
  return { base: new URL(link).origin, link, authority: join(data, "tls/ca.pem"), slowly, addModel, stop };
}
