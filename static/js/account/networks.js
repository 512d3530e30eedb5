// From which networks a key is accepted: the field for them, and the dialog that changes them.
import { html, useState } from "../lib.js";
import { api } from "../api.js";
import { fill, text } from "../messages.js";
import { toast } from "../state.js";
import { TaskForm, useTask } from "../ui/load.js";
import { Dialog, Field } from "../ui/parts.js";

/** The networks that were typed, one a line or with commas between. @param {string} typed */
export const networksOf = (typed) => typed.split(/[\s,;]+/).filter(Boolean);

/** @param {{ value: string, onInput: (value: string) => void, task: ReturnType<typeof useTask>, autofocus?: boolean }} props */
export function NetworksField({ value, onInput, task, autofocus }) {
  return html`<${Field} label=${text.account.keyNetworks} hint=${text.account.keyNetworksHint} value=${value} onInput=${onInput} rows=${3} maxlength=${2048}
    class="mono" autofocus=${autofocus} error=${task.param === "networks" ? task.error : null} />`;
}

/** @param {{ one: any, onClose: () => void, onChange: () => Promise<void> }} props */
export function ChangeNetworks({ one, onClose, onChange }) {
  const [typed, setTyped] = useState(one.networks.join("\n"));
  const task = useTask(async () => {
    const { networks } = await api.patch(`/api/me/keys/${one.id}`, { networks: networksOf(typed) });
    const said = networks.length > 0 ? text.account.keyNetworksSaved : text.account.keyNetworksLifted;
    toast(fill(said, { name: one.name, networks: networks.join(", ") }));
    onClose();
    await onChange();
  });
  return html`<${Dialog} title=${fill(text.account.keyNetworksTitle, { name: one.name })} onClose=${onClose}><${TaskForm} task=${task} fields=${["networks"]}>
    <${NetworksField} value=${typed} onInput=${setTyped} task=${task} autofocus />
    <p class="quiet small">${text.account.keyNetworksAbout}</p>
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${text.cancel}</button>
      <button class="button primary" disabled=${task.isBusy}>${text.save}</button></div></${TaskForm}></${Dialog}>`;
}
