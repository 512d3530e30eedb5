// Small parts used by many pages.
import { html, useEffect, useId, useRef, useState } from "../lib.js";
import { text } from "../messages.js";
import { toast, toasts } from "../state.js";
import { Icon } from "./icons.js";

/** @param {{ children?: any }} props */
export function Brand({ children }) {
  return html`<span class="brand"><${Icon} name="seal" />${children ?? text.product}</span>`;
}

/**
 * A labelled field, of several lines where it has `rows`. `error` is tied to the input, so that screen readers say it.
 * @param {{ label: string, value: string, onInput: (value: string) => void, type?: string, hint?: any, error?: string | null,
 *   autocomplete?: string, required?: boolean, name?: string, maxlength?: number, rows?: number, autofocus?: boolean, class?: string, placeholder?: string, spellcheck?: boolean }} props
 */
export function Field(props) {
  const id = useId();
  const [isShown, setShown] = useState(false);
  const input = useRef(/** @type {any} */ (null));
  useEffect(() => { if (props.autofocus) input.current?.focus(); }, []);
  const isPassword = props.type === "password";
  const described = [props.hint && `${id}-hint`, props.error && `${id}-wrong`].filter(Boolean).join(" ");
  const control = html`<${props.rows ? "textarea" : "input"} ref=${input} id=${id} class=${`input ${props.class ?? ""}`} name=${props.name}
    type=${props.rows ? undefined : isPassword && isShown ? "text" : props.type ?? "text"} rows=${props.rows} value=${props.value} required=${props.required}
    maxlength=${props.maxlength ?? 256} autocomplete=${props.autocomplete ?? "off"} placeholder=${props.placeholder}
    autocapitalize="none" spellcheck=${props.spellcheck ?? false} aria-invalid=${props.error ? "true" : undefined}
    aria-describedby=${described || undefined}
    onInput=${(/** @type {any} */ event) => props.onInput(event.currentTarget.value)} />`;
  return html`<div class="field"><label for=${id}>${props.label}</label>
    ${isPassword ? html`<div class="with-reveal">${control}
      <button type="button" class="button plain small" aria-label=${`${isShown ? text.hide : text.show}: ${props.label}`}
        onClick=${() => setShown(!isShown)}>${isShown ? text.hide : text.show}</button></div>` : control}
    ${props.error && html`<p class="wrong" id=${`${id}-wrong`} role="alert">${props.error}</p>`}
    ${props.hint && html`<div class="hint" id=${`${id}-hint`}>${props.hint}</div>`}</div>`;
}

/** @param {{ label: string, value: any, options: [any, string][], onChange: (value: string) => void, compact?: boolean }} props */
export function Select({ label, value, options, onChange, compact }) {
  const id = useId();
  return html`<div class="field"><label for=${id}>${label}</label>
    <select id=${id} class=${`input ${compact ? "compact" : ""}`} value=${value}
      onChange=${(/** @type {any} */ event) => onChange(event.currentTarget.value)}>
      ${options.map(([key, name]) => html`<option value=${key} selected=${String(key) === String(value)}>${name}</option>`)}
    </select></div>`;
}

/** @param {{ kind?: "warn" | "bad" | "good", icon?: string, children?: any, role?: string }} props */
export function Notice({ kind, icon, children, role }) {
  const name = icon ?? (kind ? { warn: "warn", bad: "warn", good: "check" }[kind] : "info");
  return html`<div class=${`notice ${kind ?? ""}`} role=${role}><${Icon} name=${name} size="small" /><div class="grow">${children}</div></div>`;
}

/** @param {string} value */
export async function copyText(value) {
  try {
    await navigator.clipboard.writeText(value);
    return true;
  } catch {
    toast(text.copyFailed);
    return false;
  }
}

/** @param {{ value: string, label?: string, isIcon?: boolean, class?: string }} props */
export function CopyButton({ value, label = text.copy, isIcon, class: extra }) {
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return undefined;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [isCopied]);
  const act = async () => setCopied(await copyText(value));
  const icon = html`<${Icon} name=${isCopied ? "check" : "copy"} size="small" />`;
  if (isIcon) {
    const name = isCopied ? text.copied : label;
    return html`<button type="button" class="icon-button small" aria-label=${name} title=${name} onClick=${act}>${icon}</button>`;
  }
  return html`<button type="button" class=${`button ${extra ?? ""}`} onClick=${act}>${icon}${isCopied ? text.copied : label}</button>`;
}

/** @param {{ value: string }} props */
export function CopyLine({ value }) {
  return html`<div class="copy-line"><code>${value}</code><${CopyButton} value=${value} /></div>`;
}

/** @param {{ title: string, children?: any }} props */
export function Empty({ title, children }) {
  return html`<div class="empty"><p class="title">${title}</p>${children}</div>`;
}

/**
 * A modal dialog on the platform's own element: focus, Esc and the backdrop are the browser's.
 * @param {{ title: string, onClose: () => void, children?: any, isDrawer?: boolean }} props
 */
export function Dialog({ title, onClose, children, isDrawer }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => { if (before instanceof HTMLElement && before.isConnected) before.focus(); };
  }, []);
  const onClick = (/** @type {any} */ event) => { if (event.target === dialog.current) onClose(); };
  return html`<dialog ref=${dialog} class=${isDrawer ? "drawer" : "dialog"} aria-labelledby=${id} onClose=${onClose} onMouseDown=${onClick}>
    <div class="dialog-head"><h2 id=${id}>${title}</h2>
      <button type="button" class="icon-button" aria-label=${text.close} onClick=${onClose}><${Icon} name="cross" size="small" /></button></div>
    <div class="dialog-body">${children}</div></dialog>`;
}

/**
 * Asks before something that cannot be undone.
 * @param {{ title: string, about: string, action: string, isDanger?: boolean, isKept?: boolean, onClose: () => void, onDo: () => Promise<void> }} props
 */
export function Confirm({ title, about, action, isDanger, isKept, onClose, onDo }) {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const act = async () => {
    setBusy(true);
    try { await onDo(); if (!isKept) onClose(); } catch (/** @type {any} */ cause) { setError(cause.message); setBusy(false); }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}><p>${about}</p>
    ${error && html`<p class="field"><span class="wrong" role="alert">${error}</span></p>`}
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${text.cancel}</button>
      <button type="button" class=${`button ${isDanger ? "danger" : "primary"}`} disabled=${isBusy} onClick=${act}>${action}</button></div></${Dialog}>`;
}

/**
 * A button with a list of actions; `isNamed` says that the button's own words are its name. Arrow keys move, Esc closes and gives the focus back.
 * @param {{ label: string, button: any, class?: string, align?: string, isNamed?: boolean, items: ({ label: any, icon?: string, act?: () => void, href?: string, isDanger?: boolean, isChecked?: boolean, isDisabled?: boolean, class?: string } | null | false)[], onOpen?: () => void }} props
 */
export function Menu({ label, button, class: extra, align, items, isNamed, onOpen }) {
  const [isOpen, setOpen] = useState(false);
  const root = useRef(/** @type {HTMLDivElement | null} */ (null));
  useEffect(() => {
    if (!isOpen) return undefined;
    root.current?.querySelector(/** @type {any} */ (".menu-item"))?.focus();
    const away = (/** @type {any} */ event) => { if (!root.current?.contains(event.target)) setOpen(false); };
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [isOpen]);
  const close = () => { setOpen(false); root.current?.querySelector("button")?.focus(); };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (!isOpen) return;
    if (event.key === "Escape") { event.stopPropagation(); event.preventDefault(); close(); }
    if (event.key === "Tab") setOpen(false);
    const entries = /** @type {HTMLElement[]} */ ([...(root.current?.querySelectorAll(".menu-item") ?? [])]);
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    const at = entries.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    entries[(at + step + entries.length) % entries.length]?.focus();
  };
  const shown = items.filter((item) => !!item);
  return html`<div class="menu" ref=${root} onKeyDown=${onKey}>
    <button type="button" class=${extra ?? "icon-button small"} aria-haspopup="menu" aria-expanded=${String(isOpen)} aria-label=${isNamed ? undefined : label}
      onClick=${() => { if (!isOpen) onOpen?.(); setOpen(!isOpen); }}>${button}</button>
    ${isOpen && html`<div class=${`menu-list ${align ?? "end"}`} role="menu" aria-label=${label}>
      ${shown.map((/** @type {any} */ item) => html`<${Item} item=${item} onDone=${close} onLeave=${() => setOpen(false)} />`)}</div>`}</div>`;
}

/** @param {{ item: any, onDone: () => void, onLeave: () => void }} props */
function Item({ item, onDone, onLeave }) {
  const inside = html`${item.icon && html`<${Icon} name=${item.icon} size="small" />`}<span class="grow">${item.label}</span>
    ${item.isChecked && html`<${Icon} name="check" size="small" />`}`;
  const look = `menu-item ${item.isDanger ? "danger" : ""} ${item.class ?? ""}`;
  if (item.href) return html`<a class=${look} role="menuitem" tabindex="-1" href=${item.href} onClick=${onLeave}>${inside}</a>`;
  const role = item.isChecked === undefined ? "menuitem" : "menuitemradio";
  return html`<button type="button" class=${look} role=${role} tabindex="-1"
    aria-checked=${item.isChecked === undefined ? undefined : String(item.isChecked)} aria-disabled=${item.isDisabled ? "true" : undefined}
    onClick=${() => { if (item.isDisabled) return; onDone(); item.act?.(); }}>${inside}</button>`;
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map((one) => html`<div class="toast" key=${one.id}><span class="grow">${one.message}</span>
      ${one.act && html`<button type="button" class="button" onClick=${one.act}>${one.action}</button>`}</div>`)}</div>`;
}
