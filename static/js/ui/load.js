// Loading data for a page: waiting, failing and trying again look the same everywhere.
import { html, useEffect, useState } from "../lib.js";
import { api } from "../api.js";
import { text } from "../messages.js";
import { Notice } from "./parts.js";

/**
 * @param {string} path
 * @returns {{ data: any, error: string, reload: () => Promise<void>, setData: (data: any) => void }}
 */
export function useLoad(path) {
  const [state, setState] = useState(/** @type {{ data: any, error: string }} */ ({ data: null, error: "" }));
  const reload = async () => {
    try {
      setState({ data: await api.get(path), error: "" });
    } catch (/** @type {any} */ cause) {
      setState((before) => ({ data: before.data, error: cause.message }));
    }
  };
  useEffect(() => { setState({ data: null, error: "" }); void reload(); }, [path]);
  return { ...state, reload, setData: (data) => setState({ data, error: "" }) };
}

/** @param {{ from: ReturnType<typeof useLoad>, children: (data: any) => any }} props */
export function Loaded({ from, children }) {
  if (from.error && !from.data) {
    return html`<${Notice} kind="bad" role="alert">${from.error} <button type="button" class="button small" onClick=${from.reload}>${text.retry}</button></${Notice}>`;
  }
  if (!from.data) return html`<p class="waiting" role="status">${text.loading}</p>`;
  return children(from.data);
}
