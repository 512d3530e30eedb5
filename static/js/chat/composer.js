// Where one types: grows to ten lines, Enter sends, Shift+Enter breaks, Esc stops, ↑ takes up the last question.
import { batch, html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";
import { fill, text } from "../messages.js";
import { toast } from "../state.js";
import { Icon } from "../ui/icons.js";
import { Dialog, Notice } from "../ui/parts.js";
import { attached, FILES_MAX, reading, refusals } from "./attached.js";
import { draft, messages, openId, running, sendError, whereabouts } from "./exchange.js";
import { AttachButton, Chips, onPaste, Refusals } from "./files.js";
import { compose, parse } from "./message.js";
import { send, stop } from "./sending.js";
import { newChat } from "./sidebar.js";

/** @param {{ follow: any }} props */
export function Composer({ follow }) {
  const area = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const isBusy = running.value !== null;
  useLayoutEffect(() => grow(area.current), [draft.value]);
  // A touch keyboard would jump up uninvited.
  useEffect(() => { if (matchMedia("(hover: hover)").matches) area.current?.focus(); }, [openId.value]);
  useEffect(() => {
    const key = (/** @type {KeyboardEvent} */ event) => {
      const isElsewhere = event.target instanceof HTMLInputElement || document.querySelector("dialog[open]");
      if (event.key === "Escape" && running.value && !isElsewhere) { event.preventDefault(); void stop(); }
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  const isEmpty = !draft.value.trim() && attached.value.length === 0;
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    // 229: the key belongs to an input method. Safari says so of the Enter that ends a composition, and nothing else does.
    const isComposing = event.isComposing || event.keyCode === 229;
    if (event.key === "Enter" && !event.shiftKey && !isComposing) { event.preventDefault(); void submit(); }
    if (event.key === "ArrowUp" && !draft.value && attached.value.length === 0) {
      const last = messages.value.findLast((one) => one.role === "user");
      if (last) { event.preventDefault(); put(last.content); }
    }
  };
  return html`<div class="composer-zone">${follow}
    ${sendError.value && html`<div class="send-error"><${Notice} kind="bad" role="alert">${sendError.value.message}
      ${sendError.value.isGone && html` <button type="button" class="button small" onClick=${newChat}>${text.chat.new}</button>`}</${Notice}></div>`}
    <${Refusals} /><${Chips} />
    <form class="composer" onPaste=${onPaste} onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); void submit(); }}>
      <textarea ref=${area} rows="1" aria-label=${text.chat.placeholder} placeholder=${text.chat.placeholder}
        value=${draft.value} onInput=${(/** @type {any} */ event) => { draft.value = event.currentTarget.value; }} onKeyDown=${onKey}></textarea>
      <${AttachButton} />
      ${isBusy ? html`<button type="button" class="icon-button send" aria-label=${text.chat.stop} title=${`${text.chat.stop} (Esc)`}
          onClick=${() => void stop()}><${Icon} name="stop" /></button>`
        : html`<button type="submit" class="icon-button send" aria-label=${text.chat.send} title=${`${text.chat.send} (Enter)`}
          disabled=${isEmpty || reading.value > 0}><${Icon} name="send" /></button>`}
    </form><${Seal} /></div>`;
}

async function submit() {
  const [words, files] = [draft.value.trim(), attached.value];
  if ((!words && files.length === 0) || running.value || reading.value > 0) return;
  if (files.length > FILES_MAX) {
    refusals.value = [fill(text.chat.files.over, { max: FILES_MAX, count: files.length - FILES_MAX })];
    return;
  }
  batch(() => { draft.value = ""; attached.value = []; refusals.value = []; });
  if (await send(compose(words, files))) return;
  // What was not taken comes back into the box: nothing typed is ever lost.
  batch(() => {
    draft.value = draft.value && words ? `${words}\n\n${draft.value}` : words || draft.value;
    attached.value = [...files, ...attached.value];
  });
}

/** @param {HTMLTextAreaElement | null} area for browsers without `field-sizing` */
function grow(area) {
  if (!area || CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}

/** The seal line: one sentence under the box, and the details behind it. */
function Seal() {
  const [isOpen, setOpen] = useState(false);
  return html`<p class="seal"><${Icon} name="lock" />${text.chat.seal}
      <button type="button" onClick=${() => setOpen(true)}>${text.chat.sealMore}</button></p>
    ${isOpen && html`<${Dialog} title=${text.chat.sealTitle} onClose=${() => setOpen(false)}>
      <ul class="seal-list">${text.chat.sealPoints.map(([icon, title, about]) =>
        html`<li><${Icon} name=${icon} /><div><h3>${title}</h3><p class="quiet small">${about}</p></div></li>`)}</ul></${Dialog}>`}`;
}

/** @param {string} content a message, whose files become chips again */
function put(content) {
  const { words, files } = parse(content);
  batch(() => { draft.value = words; attached.value = files; refusals.value = []; });
}

/**
 * Puts a message into the box, and the cursor behind it. What stood there can be had back.
 * @param {string} content
 */
export function takeUp(content) {
  const [words, files, stay] = [draft.value, attached.value, whereabouts()];
  const before = compose(words, files);
  put(content);
  const back = () => { if (stay.isTheirs()) batch(() => { draft.value = words; attached.value = files; }); };
  if (before && before !== content) toast(text.chat.replaced, { action: text.undo, act: back });
  const area = /** @type {HTMLTextAreaElement | null} */ (document.querySelector(".composer textarea"));
  area?.focus();
}
