// Starts the real server for the browser tests, in a directory of its own, or uses one that is given.
//
//   STRONGROOM_BIN   the binary to start (default: target/debug/strongroom)
//   BASE_URL and SETUP_LINK   use a server that runs already, before its set-up
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const START_MS = 30_000;
const STOP_MS = 10_000;

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

/** @returns {Promise<{ base: string, link: string, stop: () => Promise<void> }>} */
export async function startServer() {
  if (process.env.BASE_URL && process.env.SETUP_LINK) {
    return { base: process.env.BASE_URL, link: process.env.SETUP_LINK, stop: async () => {} };
  }
  const binary = process.env.STRONGROOM_BIN ?? join(root, "target/debug/strongroom");
  const data = mkdtempSync(join(tmpdir(), "strongroom-web-"));
  const port = await freePort();
  const child = spawn(binary, ["serve", "--data-dir", join(data, "data"), "--listen", `127.0.0.1:${port}`],
    { stdio: ["ignore", "pipe", "pipe"], cwd: data });
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
  const stop = async () => {
    if (!hasEnded) child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(timer);
    rmSync(data, { recursive: true, force: true });
  };
  return { base: new URL(link).origin, link, stop };
}
