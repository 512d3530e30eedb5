// The server is sealed, or not there: says so, and opens by itself when that changes.
import { html, useEffect } from "../lib.js";
import { errors, text } from "../messages.js";
import { Icon } from "../ui/icons.js";
import { CopyLine } from "../ui/parts.js";
import { Door } from "./frame.js";

const ASK_AGAIN_MS = 3_000;

/** @param {() => void} ask */
function useAskingAgain(ask) {
  useEffect(() => {
    const timer = setInterval(ask, ASK_AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
}

/** @param {{ onOpen: () => void }} props */
export function SealedPage({ onOpen }) {
  useAskingAgain(onOpen);
  return html`<${Door} title=${text.door.sealedTitle}><div class="stack">
    <h1>${text.door.sealedTitle}</h1><p class="quiet">${text.door.sealedLead}</p>
    <p>${text.door.sealedHow}</p><${CopyLine} value="strongroom unseal" />
    <p class="quiet small" role="status">${text.door.sealedAgain}</p></div></${Door}>`;
}

/** @param {{ onOpen: () => void }} props */
export function AwayPage({ onOpen }) {
  useAskingAgain(onOpen);
  return html`<${Door} title=${text.door.unreachableTitle}><div class="stack">
    <h1>${text.door.unreachableTitle}</h1><p class="quiet">${errors.unreachable}</p>
    <button type="button" class="button" onClick=${onOpen}><${Icon} name="again" size="small" />${text.retry}</button></div></${Door}>`;
}
