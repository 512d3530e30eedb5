// The page around everything that happens before one is inside.
import { html, useEffect } from "../lib.js";
import { text } from "../messages.js";
import { Icon } from "../ui/icons.js";
import { Brand } from "../ui/parts.js";

/** @param {{ title: string, children?: any, isWide?: boolean, name?: string }} props */
export function Door({ title, children, isWide, name }) {
  useEffect(() => { document.title = `${title} · ${text.product}`; }, [title]);
  return html`<main class="door" id="content"><div class=${`door-card ${isWide ? "wide" : ""}`}><${Brand}>${name}</${Brand}>
    <div class="card">${children}</div></div>
    <p class="door-foot"><${Icon} name="lock" />${text.stays}</p></main>`;
}

/**
 * The one-time token of a link: what follows its #. It never goes into a request's address.
 * @returns {string}
 */
export function linkToken() {
  return decodeURIComponent(location.hash.slice(1));
}
