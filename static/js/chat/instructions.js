// What a chat stands under: a system prompt that an administrator keeps for many, or none.
import { html, signal, useEffect } from "../lib.js";
import { api } from "../api.js";
import { text } from "../messages.js";
import { toastError } from "../state.js";
import { Icon } from "../ui/icons.js";
import { Menu } from "../ui/parts.js";
import { modelInUse, openId, prompt, running } from "./exchange.js";

/** @type {import("../../vendor/signals.js").Signal<{ id: string, name: string, models: string[] | null }[]>} */
const choices = signal([]);

async function refresh() {
  try { choices.value = (await api.get("/api/prompts")).prompts; } catch (error) { toastError(error); }
}

/** @param {string | null} id */
async function choose(id) {
  const [conversation, before] = [openId.value, prompt.value];
  prompt.value = id;
  if (!conversation) return;
  try {
    await api.patch(`/api/conversations/${conversation}`, { prompt: id ?? "" });
  } catch (error) {
    if (openId.value === conversation) prompt.value = before;
    toastError(error);
  }
}

/** The choice, where there is one. */
export function Instructions() {
  useEffect(() => {
    void refresh();
    return () => { choices.value = []; };
  }, []);
  const model = modelInUse();
  const list = choices.value.filter((one) => one.models === null || one.id === prompt.value || (model !== null && one.models.includes(model)));
  if (list.length === 0 && !prompt.value) return null;
  const current = list.find((one) => one.id === prompt.value);
  const name = current?.name ?? (prompt.value ? text.chat.instructionsGone : text.chat.noInstructions);
  const item = (/** @type {string | null} */ id, /** @type {string} */ label) => ({
    label, isChecked: prompt.value === id, isDisabled: running.value !== null, act: () => void choose(id),
  });
  return html`<${Menu} label=${`${text.chat.instructions}: ${name}`} class="button plain" onOpen=${() => void refresh()}
    items=${[item(null, text.chat.noInstructions), ...list.map((one) => item(one.id, one.name))]}
    button=${html`<${Icon} name="list" size="small" /><span class="clip">${name}</span>`} />`;
}
