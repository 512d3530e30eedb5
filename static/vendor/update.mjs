#!/usr/bin/env node
// Re-creates, or checks, the libraries in this folder from the packages that they come from.
//
//   node static/vendor/update.mjs           check: every file here has the hash of the lock file
//   node static/vendor/update.mjs --from    check, against the packages as npm gives them today
//   node static/vendor/update.mjs --write   make the files and the lock file anew
//
// The browser takes no bare module name without an import map, and an import map would have to be
// an inline script, which the content security policy refuses. So the names of imported packages
// are rewritten to files beside them; the lock file keeps the hash before and after.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const lockPath = join(here, "vendor.lock.json");

const languages = [
  "bash", "c", "cpp", "csharp", "css", "diff", "dockerfile", "go", "graphql", "ini", "java",
  "javascript", "json", "kotlin", "lua", "makefile", "markdown", "php", "python", "ruby", "rust",
  "sql", "swift", "typescript", "xml", "yaml",
];

/** One package: its version, its licence file, and which of its files become which of ours. */
const packages = [
  { name: "preact", version: "11.2.0", licence: "LICENSE",
    files: { "dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "hooks.js" } },
  { name: "htm", version: "3.1.1", licence: "LICENSE", files: { "dist/htm.mjs": "htm.js" } },
  { name: "@preact/signals-core", version: "1.14.5", licence: "LICENSE",
    files: { "dist/signals-core.mjs": "signals-core.js" } },
  { name: "@preact/signals", version: "2.11.4", licence: "LICENSE",
    files: { "dist/signals.mjs": "signals.js" } },
  { name: "markdown-it", version: "15.0.3", licence: "LICENSE",
    bundled: { "entities": "LICENSE", "linkify-it": "LICENSE", "mdurl": "LICENSE", "punycode.js": "LICENSE-MIT.txt", "uc.micro": "LICENSE.txt" },
    files: { "dist/browser/markdown-it.esm.min.mjs": "markdown-it.js" } },
  { name: "dompurify", version: "3.4.18", licence: "LICENSE",
    files: { "dist/purify.es.mjs": "purify.js" } },
  { name: "@highlightjs/cdn-assets", version: "11.12.0", licence: "LICENSE",
    files: { "es/core.min.js": "highlight/core.js",
      ...Object.fromEntries(languages.map((language) =>
        [`es/languages/${language}.min.js`, `highlight/${language}.js`])) } },
];

const rewrites = {
  "preact": "./preact.js",
  "preact/hooks": "./hooks.js",
  "@preact/signals-core": "./signals-core.js",
};

const sha384 = (bytes) => `sha384-${createHash("sha384").update(bytes).digest("base64")}`;

/** Points imports at the files here, and drops the pointer to a source map that is not here. */
function rewritten(text) {
  return text
    .replace(/(\bfrom\s*|\bimport\s*)(["'])([^"'./][^"']*)\2/g, (whole, before, quote, name) =>
      Object.hasOwn(rewrites, name) ? `${before}${quote}${rewrites[name]}${quote}` : whole)
    .replace(/\n?\/\/# sourceMappingURL=\S*\s*$/, "\n");
}

/** Installs the packages into a scratch folder and calls `use` with the path of `node_modules`. */
function withPackages(use) {
  const folder = mkdtempSync(join(tmpdir(), "vendor-"));
  try {
    writeFileSync(join(folder, "package.json"), "{\"private\":true}");
    const specs = packages.map(({ name, version }) => `${name}@${version}`);
    execFileSync("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund",
      "--omit-lockfile-registry-resolved=true", "--save-exact", "--silent", ...specs],
    { cwd: folder, stdio: ["ignore", "inherit", "inherit"] });
    return use(join(folder, "node_modules"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The files and lock entries as they follow from the packages. */
function build(modules) {
  const files = new Map();
  const lock = packages.map((entry) => {
    const root = join(modules, entry.name);
    const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const licencePath = `LICENSES/${entry.name.replace("@", "").replace("/", "-")}.txt`;
    files.set(licencePath, readFileSync(join(root, entry.licence)));
    return {
      name: entry.name, version: manifest.version, licence: manifest.license,
      licence_file: licencePath,
      ...bundledIn(entry, modules, files),
      files: Object.entries(entry.files).map(([source, target]) => {
        const original = readFileSync(join(root, source));
        const ours = Buffer.from(rewritten(original.toString("utf8")));
        files.set(target, ours);
        return { file: target, source, source_sha384: sha384(original), sha384: sha384(ours) };
      }),
    };
  });
  files.set("vendor.lock.json", Buffer.from(`${JSON.stringify({ packages: lock }, null, 2)}\n`));
  return files;
}

/** Packages that a package's file has inside it: their licences come along. */
function bundledIn(entry, modules, files) {
  if (!entry.bundled) return {};
  return { bundled: Object.entries(entry.bundled).map(([name, licence]) => {
    const manifest = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8"));
    const path = `LICENSES/${name}.txt`;
    files.set(path, readFileSync(join(modules, name, licence)));
    return { name, version: manifest.version, licence: manifest.license, licence_file: path };
  }) };
}

/** Every file below this folder that is a library, by its path from here. */
function present(folder = here) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === "LICENSES" ? [] : present(path);
    return entry.name.endsWith(".js") ? [relative(here, path)] : [];
  });
}

/** Compares the files here with the lock file. Returns what is wrong, in words. */
export function check() {
  const lock = JSON.parse(readFileSync(lockPath, "utf8"));
  const known = new Map(lock.packages.flatMap((entry) =>
    entry.files.map((file) => [file.file, file.sha384])));
  const problems = present().filter((file) => !known.has(file))
    .map((file) => `${file} is not in vendor.lock.json`);
  for (const [file, hash] of known) {
    let bytes;
    try { bytes = readFileSync(join(here, file)); } catch { problems.push(`${file} is missing`); continue; }
    if (sha384(bytes) !== hash) problems.push(`${file} differs from vendor.lock.json`);
  }
  return problems;
}

function main(flag) {
  if (flag === "--write") {
    withPackages((modules) => {
      for (const [path, bytes] of build(modules)) {
        mkdirSync(dirname(join(here, path)), { recursive: true });
        writeFileSync(join(here, path), bytes);
      }
    });
  }
  const problems = check();
  if (flag === "--from") {
    withPackages((modules) => {
      for (const [path, bytes] of build(modules)) {
        if (!readFileSync(join(here, path)).equals(bytes)) problems.push(`${path} differs from its package`);
      }
    });
  }
  for (const problem of problems) console.error(problem);
  if (problems.length === 0) console.log("static/vendor is as vendor.lock.json says");
  process.exitCode = problems.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv[2]);
