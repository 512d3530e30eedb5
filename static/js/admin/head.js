// The head of an administration page.
import { html } from "../lib.js";

/** @param {{ title: string, lead: string, children?: any }} props */
export function Head({ title, lead, children }) {
  return html`<div class="page-head"><div><h1>${title}</h1><p>${lead}</p></div>${children}</div>`;
}
