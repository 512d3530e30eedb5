// Markdown of a model to safe HTML. The model's text is hostile until DOMPurify, the last step, has seen it.
//
// The text is rendered block by block, so that a streamed answer changes only its last block: what
// stands above does not move, and what a person selected stays selected.
import MarkdownIt from "../vendor/markdown-it.js";
import DOMPurify from "../vendor/purify.js";
import hljs from "../vendor/highlight/core.js";
import { text } from "./messages.js";

const HIGHLIGHT_CHARS_MAX = 40_000;
const BLOCKS_CACHED_MAX = 2_000;

const languages = [
  "bash", "c", "cpp", "csharp", "css", "diff", "dockerfile", "go", "graphql", "ini", "java",
  "javascript", "json", "kotlin", "lua", "makefile", "markdown", "php", "python", "ruby", "rust",
  "sql", "swift", "typescript", "xml", "yaml",
];
/** @type {Map<string, Promise<void>>} */
const loading = new Map();

/**
 * Fetches a language's grammar from this server, once. Unknown names are text.
 * @param {string} name
 * @returns {Promise<void> | null} null when there is nothing to wait for
 */
export function needLanguage(name) {
  const known = languages.find((one) => one === name || aliases.get(name) === one);
  if (!known || hljs.getLanguage(known)) return null;
  const running = loading.get(known) ?? import(`../vendor/highlight/${known}.js`)
    .then((module) => { hljs.registerLanguage(known, module.default); blocks.clear(); })
    .catch(() => { /* the code is shown without colours */ });
  loading.set(known, running);
  return running;
}

// A map: the name is the model's, and an object has names of its own.
const aliases = new Map(Object.entries({
  sh: "bash", shell: "bash", zsh: "bash", js: "javascript", jsx: "javascript", ts: "typescript", tsx: "typescript",
  py: "python", rs: "rust", yml: "yaml", toml: "ini", html: "xml", svg: "xml", md: "markdown", "c++": "cpp",
  cs: "csharp", golang: "go", kt: "kotlin", rb: "ruby", docker: "dockerfile", make: "makefile",
}));

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: false, typographer: false, maxNesting: 40 });
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

const escape = markdown.utils.escapeHtml;

// An image would be a request to wherever the model says: it is shown as a link, and not followed.
markdown.renderer.rules.image = (/** @type {any} */ tokens, /** @type {number} */ index) => {
  const token = tokens[index];
  const source = token.attrGet("src") ?? "";
  const label = `${token.content || source} (${text.chat.imageNot})`;
  return /^https?:/i.test(source) ? `<a href="${escape(source)}">${escape(label)}</a>` : escape(label);
};

markdown.renderer.rules.fence = (/** @type {any} */ tokens, /** @type {number} */ index) => {
  const token = tokens[index];
  return codeBlock(token.content, token.info.trim().split(/\s+/)[0] ?? "");
};
markdown.renderer.rules.code_block = (/** @type {any} */ tokens, /** @type {number} */ index) =>
  codeBlock(tokens[index].content, "");
markdown.renderer.rules.table_open = () => "<div class=\"table-wrap\"><table>";
markdown.renderer.rules.table_close = () => "</table></div>";

/** @param {string} code @param {string} info */
function codeBlock(code, info) {
  const language = info.toLowerCase().replace(/[^a-z0-9+#.-]/g, "").slice(0, 24);
  const name = aliases.get(language) ?? language;
  const isKnown = hljs.getLanguage(name) && code.length <= HIGHLIGHT_CHARS_MAX;
  const inside = isKnown ? hljs.highlight(code, { language: name, ignoreIllegals: true }).value : escape(code);
  return `<div class="code" title="${escape(language)}"><pre><code>${inside}</code></pre></div>`;
}

// The default instance: a second one would need a second Trusted Types policy.
const purifier = DOMPurify;
purifier.addHook("afterSanitizeAttributes", (/** @type {Element} */ node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

const policy = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol",
    "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["class", "href", "start", "title"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_TRUSTED_TYPE: true,
};

/** @type {Map<string, any>} */
const blocks = new Map();

/**
 * @param {string} source
 * @returns {string[]} the HTML of each block at the top level, not yet sanitised
 */
function render(source) {
  const env = {};
  const tokens = markdown.parse(source, env);
  /** @type {string[]} */
  const parts = [];
  let begin = 0;
  let depth = 0;
  tokens.forEach((token, index) => {
    depth += token.nesting;
    if (depth > 0) return;
    parts.push(markdown.renderer.render(tokens.slice(begin, index + 1), markdown.options, env));
    begin = index + 1;
  });
  return parts;
}

/** @param {string} part @returns {any} TrustedHTML where the browser has it */
function sanitised(part) {
  const known = blocks.get(part);
  if (known) return known;
  const safe = purifier.sanitize(part, policy);
  if (blocks.size >= BLOCKS_CACHED_MAX) blocks.clear();
  blocks.set(part, safe);
  return safe;
}

/** @type {WeakMap<Element, string>} */
const shown = new WeakMap();

/**
 * Brings an element up to date with a text; blocks that did not change are left alone.
 * @param {HTMLElement} root
 * @param {string} source
 */
export function renderInto(root, source) {
  const parts = render(source);
  parts.forEach((part, index) => {
    let block = /** @type {HTMLElement | undefined} */ (root.children[index]);
    if (!block) {
      block = document.createElement("div");
      block.className = "block";
      root.append(block);
    }
    if (shown.get(block) === part) return;
    block.innerHTML = sanitised(part);
    shown.set(block, part);
    // What scrolls inside itself must be reachable by keyboard.
    for (const wide of block.querySelectorAll("pre, .table-wrap")) /** @type {HTMLElement} */ (wide).tabIndex = 0;
    for (const code of block.querySelectorAll(".code")) finishCode(/** @type {HTMLElement} */ (code), root, source);
  });
  while (root.children.length > parts.length) root.lastElementChild?.remove();
}

/** @param {HTMLElement} code @param {HTMLElement} root @param {string} source */
function finishCode(code, root, source) {
  const language = code.title;
  code.removeAttribute("title");
  const head = document.createElement("div");
  head.className = "code-head";
  const name = document.createElement("span");
  name.textContent = language || text.chat.codePlain;
  const buttons = document.createElement("span");
  buttons.append(button(text.chat.wrap, "wrap"), button(text.copy, "copy"));
  head.append(name, buttons);
  code.prepend(head);
  // The grammar arrives once; then the same text is drawn again, unless a newer one is there.
  needLanguage(language)?.then(() => { if (root.isConnected) redraw(root, source); });
}

/** @param {HTMLElement} root @param {string} source */
function redraw(root, source) {
  for (const block of root.children) shown.delete(block);
  show(root, latest.get(root) ?? source);
}

/** @type {WeakMap<Element, string>} */
const latest = new WeakMap();

/** @param {HTMLElement} root @param {string} source */
export function show(root, source) {
  latest.set(root, source);
  try {
    renderInto(root, source);
  } catch (error) {
    // An answer that cannot be set in type is still an answer.
    console.warn("an answer is shown as plain text", error instanceof Error ? error.name : "");
    plain(root, source);
  }
}

/** @param {HTMLElement} root @param {string} source shown as it is */
function plain(root, source) {
  const block = document.createElement("div");
  block.className = "block plain";
  block.textContent = source;
  root.replaceChildren(block);
}

/** @param {string} label @param {string} act */
function button(label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.dataset.act = act;
  return made;
}

/**
 * What the buttons of code blocks do; one listener on the answer serves all of them.
 * @param {MouseEvent} event
 * @param {(value: string) => Promise<boolean>} copy
 */
export async function onCodeClick(event, copy) {
  const target = event.target instanceof HTMLElement ? event.target.closest("button[data-act]") : null;
  const code = target?.closest(".code");
  if (!(target instanceof HTMLElement) || !code) return;
  if (target.dataset.act === "wrap") {
    target.textContent = code.classList.toggle("wrapped") ? text.chat.unwrap : text.chat.wrap;
    return;
  }
  if (!await copy(code.querySelector("code")?.textContent ?? "")) return;
  target.textContent = text.copied;
  setTimeout(() => { target.textContent = text.copy; }, 2000);
}
