// Files of messages on the page: how they are attached, the chips of those that will be sent, and those that were.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";
import { onCodeClick, show } from "../markdown.js";
import { counted, fill, text } from "../messages.js";
import { size } from "../time.js";
import { Icon } from "../ui/icons.js";
import { copyText, Notice } from "../ui/parts.js";
import { attach, attached, detach, refusals } from "./attached.js";
import { draft } from "./exchange.js";
import { bytesOf, fenceOf, linesOf } from "./message.js";

/** @typedef {import("./message.js").Attachment} Attachment */

export function AttachButton() {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const onChange = (/** @type {any} */ event) => {
    void attach(event.currentTarget.files ?? [], draft.value);
    // Else the same file, changed in the meantime, could not be chosen again.
    event.currentTarget.value = "";
  };
  return html`<input ref=${input} type="file" multiple hidden onChange=${onChange} />
    <button type="button" class="icon-button attach" aria-label=${text.chat.files.attach} title=${text.chat.files.attach}
      onClick=${() => input.current?.click()}><${Icon} name="clip" /></button>`;
}

/**
 * A file that is pasted is attached. What comes from a document as words and as a picture of them is words.
 * @param {ClipboardEvent} event
 */
export function onPaste(event) {
  const { files, types } = event.clipboardData ?? {};
  if (!files?.length || (types?.includes("text/html") && types.includes("text/plain"))) return;
  event.preventDefault();
  void attach(files, draft.value);
}

/** What will be sent with the message. */
export function Chips() {
  const list = useRef(/** @type {HTMLUListElement | null} */ (null));
  const files = attached.value;
  const remove = (/** @type {MouseEvent} */ event, /** @type {number} */ index) => {
    const file = files[index];
    if (!file) return;
    // The focus stays where it was, as the next one's button takes this one's place, or goes to the one before, or to the text.
    const area = /** @type {HTMLElement | null} */ (document.querySelector(".composer textarea"));
    // A touch keyboard would jump up uninvited; a key that was pressed comes from another one.
    const mayFocus = event.detail === 0 || matchMedia("(hover: hover)").matches;
    if (files.length === 1 && mayFocus) area?.focus();
    else if (index === files.length - 1) list.current?.querySelectorAll("button")[index - 1]?.focus();
    detach(file);
  };
  return files.length > 0 && html`<ul class="chips" ref=${list} aria-label=${text.chat.files.list}>${files.map((file, index) => {
    const label = fill(text.chat.files.remove, { name: file.name });
    return html`<li class="chip" key=${index}><${Icon} name="file" size="small" /><span class="clip" title=${file.name}>${file.name}</span>
      <span class="facts">${size(bytesOf(file.content))}</span>
      <button type="button" class="icon-button small" aria-label=${label} title=${label} onClick=${(/** @type {MouseEvent} */ event) => remove(event, index)}><${Icon} name="cross" size="small" /></button></li>`;
  })}</ul>`;
}

/** Why files were not attached. */
export function Refusals() {
  const list = refusals.value;
  return list.length > 0 && html`<div class="send-error"><${Notice} kind="bad" role="alert"><div class="refusals">
    <ul class="grow" aria-label=${text.chat.files.wrong}>${list.map((one) => html`<li>${one}</li>`)}</ul>
    <button type="button" class="icon-button small" aria-label=${text.close} title=${text.close}
      onClick=${() => { refusals.value = []; }}><${Icon} name="cross" size="small" /></button></div></${Notice}></div>`;
}

/** Where files are dropped: the whole window takes them, so that one beside the mark does not replace the page. */
export function DropTarget() {
  const [isOver, setOver] = useState(false);
  useEffect(() => {
    const leaving = new AbortController();
    const on = (/** @type {"dragover" | "dragleave" | "drop"} */ name, /** @type {(event: DragEvent) => void} */ act) =>
      addEventListener(name, act, { signal: leaving.signal });
    const hasFiles = (/** @type {DragEvent} */ event) => !!event.dataTransfer?.types.includes("Files");
    const isCovered = () => document.querySelector("dialog[open]") !== null;
    on("dragover", (event) => {
      if (!event.dataTransfer || !hasFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = isCovered() ? "none" : "copy";
      setOver(!isCovered());
    });
    on("dragleave", (event) => { if (event.relatedTarget === null) setOver(false); });
    on("drop", (event) => {
      if (!event.dataTransfer || !hasFiles(event)) return;
      event.preventDefault();
      setOver(false);
      if (!isCovered()) void attach(event.dataTransfer.files, draft.value);
    });
    return () => leaving.abort();
  }, []);
  return isOver && html`<div class="drop-target" aria-hidden="true"><p><${Icon} name="clip" />${text.chat.files.drop}</p></div>`;
}

/** What was sent with a message. @param {{ files: Attachment[] }} props */
export function SentFiles({ files }) {
  return html`<ul class="sent-files" aria-label=${text.chat.files.list}>${files.map((file, index) => html`<${SentFile} key=${index} file=${file} />`)}</ul>`;
}

/** @param {{ file: Attachment }} props */
function SentFile({ file }) {
  const [isOpen, setOpen] = useState(false);
  const { one, many } = text.chat.files.lines;
  return html`<li><details class="sent-file" onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}>
    <summary><${Icon} name="file" size="small" /><span class="clip" title=${file.name}>${file.name}</span>
      <span class="facts">${counted(linesOf(file.content), one, many)} · ${size(bytesOf(file.content))}</span><${Icon} name="chevron" size="small" /></summary>
    ${isOpen && html`<${Code} file=${file} />`}</details></li>`;
}

/** Made when it is asked for: a chat may have many files, and long ones. @param {{ file: Attachment }} props */
function Code({ file }) {
  const root = useRef(/** @type {HTMLDivElement | null} */ (null));
  useLayoutEffect(() => {
    const fence = fenceOf(file.content);
    if (root.current) show(root.current, `${fence}${languageOf(file.name)}\n${file.content}\n${fence}\n`);
  }, [file]);
  return html`<div class="sent-code" ref=${root} onClick=${(/** @type {MouseEvent} */ event) => void onCodeClick(event, copyText)}></div>`;
}

/** @param {string} name */
const languageOf = (name) => (/\.([\w+#-]{1,24})$/.exec(name) ?? /^(dockerfile|makefile)$/i.exec(name))?.[1] ?? "";
