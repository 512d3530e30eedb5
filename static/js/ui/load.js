// Loading data for a page: waiting, failing and trying again look the same everywhere.
import { html, useEffect, useRef, useState } from "../lib.js";
import { api } from "../api.js";
import { text } from "../messages.js";
import { Notice } from "./parts.js";

/**
 * @param {string} path
 * @returns {{ data: any, error: string, reload: () => Promise<void> }}
 */
export function useLoad(path) {
  const [state, setState] = useState(/** @type {{ data: any, error: string }} */ ({ data: null, error: "" }));
  const asked = useRef(0);
  const reload = async () => {
    const own = asked.current += 1;
    // An answer that comes after a later question was asked says how things were.
    const isLate = () => own !== asked.current;
    try {
      const data = await api.get(path);
      if (!isLate()) setState({ data, error: "" });
    } catch (/** @type {any} */ cause) {
      if (!isLate()) setState((before) => ({ data: before.data, error: cause.message }));
    }
  };
  useEffect(() => { setState({ data: null, error: "" }); void reload(); }, [path]);
  return { ...state, reload };
}

/** @param {{ from: ReturnType<typeof useLoad>, children: (data: any) => any }} props */
export function Loaded({ from, children }) {
  if (from.error && !from.data) {
    return html`<${Notice} kind="bad" role="alert">${from.error} <button type="button" class="button small" onClick=${from.reload}>${text.retry}</button></${Notice}>`;
  }
  if (!from.data) return html`<p class="waiting" role="status">${text.loading}</p>`;
  return children(from.data);
}

/**
 * Work that a person starts: once at a time, however often they press. What went wrong stays in sight.
 * @template {any[]} T
 * @param {(...given: T) => Promise<unknown>} work
 * @returns {{ isBusy: boolean, error: string, run: (...given: T) => Promise<void> }}
 */
export function useTask(work) {
  const [state, setState] = useState({ isBusy: false, error: "" });
  const isRunning = useRef(false);
  const run = async (/** @type {T} */ ...given) => {
    if (isRunning.current) return;
    isRunning.current = true;
    setState({ isBusy: true, error: "" });
    let error = "";
    try { await work(...given); } catch (/** @type {any} */ cause) { error = cause.message; }
    isRunning.current = false;
    setState({ isBusy: false, error });
  };
  return { ...state, run };
}

/**
 * A form whose button does one thing, once.
 * @param {{ task: ReturnType<typeof useTask>, class?: string, children?: any }} props
 */
export function TaskForm({ task, class: extra, children }) {
  return html`<form class=${extra ?? "stack"} aria-busy=${String(task.isBusy)} onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); void task.run(); }}>
    ${task.error && html`<${Notice} kind="bad" role="alert">${task.error}</${Notice}>`}${children}</form>`;
}
