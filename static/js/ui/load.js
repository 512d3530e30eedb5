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
 * Work that a person starts: once at a time, however often they press. What went wrong stays in sight; `param` names the
 * field that it is about, where the server did.
 * @template {any[]} T
 * @param {(...given: T) => Promise<unknown>} work
 * @returns {{ isBusy: boolean, error: string, param: string, run: (...given: T) => Promise<void> }}
 */
export function useTask(work) {
  const [state, setState] = useState({ isBusy: false, error: "", param: "" });
  const isRunning = useRef(false);
  const run = async (/** @type {T} */ ...given) => {
    if (isRunning.current) return;
    isRunning.current = true;
    setState({ isBusy: true, error: "", param: "" });
    let [error, param] = ["", ""];
    try { await work(...given); } catch (/** @type {any} */ cause) { [error, param] = [cause.message, cause.param ?? ""]; }
    isRunning.current = false;
    setState({ isBusy: false, error, param });
  };
  return { ...state, run };
}

/**
 * A form whose button does one thing, once. What is wrong with one of `fields` is left to that field to say.
 * @param {{ task: ReturnType<typeof useTask>, class?: string, fields?: string[], children?: any }} props
 */
export function TaskForm({ task, class: extra, fields = [], children }) {
  return html`<form class=${extra ?? "stack"} aria-busy=${String(task.isBusy)} onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); void task.run(); }}>
    ${task.error && !fields.includes(task.param) && html`<${Notice} kind="bad" role="alert">${task.error}</${Notice}>`}${children}</form>`;
}
