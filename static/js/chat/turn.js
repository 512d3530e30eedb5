// One message: a question in its block, or an answer on the page with what can be done with it.
import { html, useEffect, useLayoutEffect, useMemo, useRef } from "../lib.js";
import { onCodeClick, show } from "../markdown.js";
import { counted, fill, findings, text } from "../messages.js";
import { announce } from "../state.js";
import { Icon } from "../ui/icons.js";
import { copyText, CopyButton, Notice } from "../ui/parts.js";
import { takeUp } from "./composer.js";
import { awaited } from "./exchange.js";
import { SentFiles } from "./files.js";
import { parse } from "./message.js";
import { regenerate } from "./sending.js";

/** @typedef {import("./exchange.js").Message} Message */

/** @param {{ source: string, isLive?: boolean }} props */
function Answer({ source, isLive }) {
  const root = useRef(/** @type {HTMLDivElement | null} */ (null));
  useLayoutEffect(() => { if (root.current) show(root.current, source); }, [source]);
  return html`<div class="answer" ref=${root} aria-busy=${String(!!isLive)}
    onClick=${(/** @type {MouseEvent} */ event) => void onCodeClick(event, copyText)}></div>`;
}

/** @param {{ notice: import("./exchange.js").GuardNotice }} props */
function GuardNote({ notice }) {
  const category = findings[notice.category] ?? notice.category;
  const words = { input: text.chat.redacted, output: text.chat.redactedOut }[notice.direction];
  if (notice.action === "redact") {
    return html`<${Notice} kind="warn" icon="shield">${counted(notice.count, words.one, words.many)} <span>(${category})</span></${Notice}>`;
  }
  if (notice.action === "refuse" || notice.action === "stop") {
    return html`<${Notice} kind="bad" icon="shield">${fill(text.chat.refused, { category })}</${Notice}>`;
  }
  if (notice.action === "trimmed") return html`<${Notice} icon="info">${counted(notice.count, text.chat.trimmed.one, text.chat.trimmed.many)}</${Notice}>`;
  return html`<${Notice} icon="shield">${fill(text.chat.flagged, { category })}</${Notice}>`;
}

/** @param {{ message: Message, isLast: boolean }} props */
function Question({ message, isLast }) {
  const { words, files } = useMemo(() => parse(message.content), [message.content]);
  return html`<article class="turn user" aria-label="You">
    ${(words || files.length === 0) && html`<div class="question">${words}</div>`}
    ${files.length > 0 && html`<${SentFiles} key=${message.id} files=${files} />`}
    ${(message.notices ?? []).map((notice) => html`<${GuardNote} notice=${notice} />`)}
    <div class="actions"><${CopyButton} isIcon value=${message.content} label=${text.chat.copyQuestion} />
      ${isLast && html`<button type="button" class="icon-button small" aria-label=${text.chat.editLast} title=${text.chat.editLast}
        onClick=${() => takeUp(message.content)}><${Icon} name="pencil" size="small" /></button>`}</div></article>`;
}

/** @param {{ message: Message }} props */
function Ending({ message }) {
  const reason = message.finish_reason;
  if (message.error) return html`<${Notice} kind="bad" role="alert">${message.content ? `${text.chat.failed} ` : ""}${message.error}</${Notice}>`;
  if (reason === "refused") return html`<${Notice} kind="bad">${text.chat.unanswered}</${Notice}>`;
  if (reason === "length") return html`<${Notice} kind="warn">${text.chat.length}</${Notice}>`;
  if (reason === "cancelled") return html`<${Notice} icon="stop">${text.chat.stopped}</${Notice}>`;
  if (reason === "content_filter") return html`<${Notice} kind="bad" icon="shield">${text.chat.filtered}</${Notice}>`;
  if (reason === "interrupted") return html`<${Notice} kind="bad">${text.chat.failed}</${Notice}>`;
  return null;
}

/** @returns {[string, string]} what is waited for: as it is shown, and as it is said aloud, where a count that runs on is left out */
function waitInWords() {
  const now = awaited.value;
  if (!now) return [text.chat.waiting, ""];
  if ("loading" in now) {
    const { loading, loadingPercent } = text.chat;
    return [now.loading === null ? loading : fill(loadingPercent, { percent: now.loading }), loading];
  }
  const { one, many, aloud } = text.chat.position;
  return now.position <= 1 ? [one, one] : [counted(now.position - 1, many, many), aloud];
}

/** Where the answer will be: what is waited for in words, then a sign of life. */
function Waiting() {
  const [shown, said] = waitInWords();
  // No live region: each percent and each place would be read out.
  useEffect(() => { if (said) announce(said); }, [said]);
  return html`<p class="wait-line"><span class="pulse"></span>${shown}</p>`;
}

/** @param {{ message: Message, isLast: boolean }} props */
function AnswerTurn({ message, isLast }) {
  const speed = message.tokens_per_second;
  const tokens = message.usage?.completion_tokens;
  return html`<article class="turn assistant" aria-label=${message.model ?? "Answer"}>
    ${message.isLive && !message.content ? html`<${Waiting} />` : html`<${Answer} source=${message.content} isLive=${message.isLive} />`}
    ${(message.notices ?? []).map((notice) => html`<${GuardNote} notice=${notice} />`)}
    <${Ending} message=${message} />
    <div class="actions">${!message.isLive && html`
      <${CopyButton} isIcon value=${message.content} label=${text.chat.copyAnswer} />
      ${isLast && html`<button type="button" class="icon-button small" aria-label=${text.chat.regenerate} title=${text.chat.regenerate}
        onClick=${regenerate}><${Icon} name="again" size="small" /></button>`}
      <span class="figures">${speed ? fill(text.chat.speed, { speed: speed.toFixed(speed < 10 ? 1 : 0) })
        : tokens ? fill(text.chat.tokens, { count: tokens }) : ""}</span>`}</div></article>`;
}

/** @type {WeakMap<Message, [boolean, any]>} */
const drawn = new WeakMap();

/**
 * The same message gives the same node, so that a streamed word redraws one message, not all.
 * @param {Message} message
 * @param {number} index
 * @param {boolean} isLast the last question, or the last answer
 */
export function turn(message, index, isLast) {
  const known = drawn.get(message);
  if (known && known[0] === isLast) return known[1];
  const Kind = message.role === "user" ? Question : AnswerTurn;
  const node = html`<${Kind} key=${index} message=${message} isLast=${isLast} />`;
  drawn.set(message, [isLast, node]);
  return node;
}
