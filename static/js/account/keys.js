// API keys: make one, see it once, say from where it is accepted, take it back.
import { html, useState } from "../lib.js";
import { api } from "../api.js";
import { fill, text } from "../messages.js";
import { may, models, toast } from "../state.js";
import { ago, Time } from "../time.js";
import { Icon } from "../ui/icons.js";
import { LimitFields, areLimits, limitWords, limitsOf, typedOf } from "../ui/limits.js";
import { Loaded, TaskForm, useLoad, useTask } from "../ui/load.js";
import { Confirm, CopyButton, CopyLine, Dialog, Empty, Field, Notice, Select } from "../ui/parts.js";
import { ChangeNetworks, NetworksField, networksOf } from "./networks.js";

export function Keys() {
  const load = useLoad("/api/me/keys");
  const [isMaking, setMaking] = useState(false);
  const [leaving, setLeaving] = useState(/** @type {any} */ (null));
  const [changing, setChanging] = useState(/** @type {any} */ (null));
  const revoke = async () => {
    await api.delete(`/api/me/keys/${leaving.id}`);
    toast(fill(text.account.keyRevoked, { name: leaving.name }));
    await load.reload();
  };
  return html`<section class="section"><div class="row-apart"><h2>${text.account.keys}</h2>
      <button type="button" class="button" onClick=${() => setMaking(true)}><${Icon} name="plus" size="small" />${text.account.keyNew}</button></div>
    <p class="about">${text.account.keysAbout} <a href="/docs" target="_blank">${text.account.keysReference}</a></p>
    <${Loaded} from=${load}>${(/** @type {any} */ data) => data.keys.length === 0
      ? html`<${Empty} title=${text.account.keysNone}><p>${text.account.keysNoneAbout}</p></${Empty}>`
      : html`<ul class="list">${data.keys.map((/** @type {any} */ one) => html`<${Row} key=${one.id} one=${one} onNetworks=${() => setChanging(one)} onRevoke=${() => setLeaving(one)} />`)}</ul>`}</${Loaded}>
    ${isMaking && html`<${Make} onClose=${() => setMaking(false)} onMade=${load.reload} />`}
    ${changing && html`<${ChangeNetworks} one=${changing} onClose=${() => setChanging(null)} onChange=${load.reload} />`}
    ${leaving && html`<${Confirm} title=${fill(text.account.keyRevokeTitle, { name: leaving.name })} about=${text.account.keyRevokeAbout}
      action=${text.account.keyRevoke} isDanger onDo=${revoke} onClose=${() => setLeaving(null)} />`}</section>`;
}

/** @param {{ one: any, onNetworks: () => void, onRevoke: () => void }} props */
function Row({ one, onNetworks, onRevoke }) {
  const used = one.last_used_at ? fill(text.account.used, { when: ago(one.last_used_at) }) : text.account.notUsed;
  const limits = limitWords(one.limits);
  const ends = one.expires_at ? fill(text.account.ends, { when: ago(one.expires_at) }) : text.account.noEnd;
  return html`<li><${Icon} name="key" /><div class="grow"><div class="clip"><strong>${one.name}</strong> <span class="mono quiet">${one.hint}</span></div>
      <div class="sub"><${Time} at=${one.created_at} /> · ${used} · ${ends}${limits.map((words) => ` · ${words}`)}</div>
      ${one.networks.length > 0 && html`<div class="sub">${fill(text.account.keyFrom, { networks: one.networks.join(", ") })}</div>`}
      ${one.turned_away && html`<div class="sub"><span class="state-failing">${fill(text.account.keyTurnedAway, { when: ago(one.turned_away.at), address: one.turned_away.address ?? text.account.keyAddressUnknown })}</span></div>`}</div>
    <button type="button" class="button small" aria-label=${`${text.account.keyNetworksChange}: ${one.name}`} onClick=${onNetworks}>${text.account.keyNetworksChange}</button>
    <button type="button" class="button small danger" aria-label=${`${text.account.keyRevoke}: ${one.name}`} onClick=${onRevoke}>${text.account.keyRevoke}</button></li>`;
}

/** @param {{ onClose: () => void, onMade: () => Promise<void> }} props */
function Make({ onClose, onMade }) {
  const [name, setName] = useState("");
  const [days, setDays] = useState("90");
  const [scope, setScope] = useState("");
  const [typed, setTyped] = useState(typedOf());
  const [typedNetworks, setTypedNetworks] = useState("");
  const [made, setMade] = useState(/** @type {any} */ (null));
  const task = useTask(async () => {
    const ends = Number(days);
    const [limits, networks] = [limitsOf(typed), networksOf(typedNetworks)];
    const more = { ...(scope ? { scopes: [scope] } : {}), ...(ends ? { expires_in_days: ends } : {}), ...(Object.keys(limits).length > 0 ? { limits } : {}), ...(networks.length > 0 ? { networks } : {}) };
    setMade(await api.post("/api/me/keys", { name: name.trim(), ...more }));
    await onMade();
  });
  if (made) return html`<${Made} secret=${made.secret} isForModels=${!scope} onClose=${onClose} />`;
  const scopes = Object.entries(text.account.scopes).filter(([one]) => !one || may(one));
  return html`<${Dialog} title=${text.account.keyNew} onClose=${onClose}><${TaskForm} task=${task} fields=${["networks"]}>
    <${Field} label=${text.account.keyName} hint=${text.account.keyNameHint} value=${name} onInput=${setName} maxlength=${60} autofocus required />
    ${scopes.length > 1 && html`<${Select} label=${text.account.keyScopes} value=${scope} options=${scopes} onChange=${setScope} />`}
    <${Select} label=${text.account.keyExpiry} value=${days} options=${text.account.expiries} onChange=${setDays} />
    <${LimitFields} legend=${text.account.keyLimits} hint=${text.account.keyLimitsHint} typed=${typed} onChange=${setTyped} />
    <${NetworksField} value=${typedNetworks} onInput=${setTypedNetworks} task=${task} />
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${text.cancel}</button>
      <button class="button primary" disabled=${task.isBusy || !name.trim() || !areLimits(typed)}>${text.account.keyMake}</button></div></${TaskForm}></${Dialog}>`;
}

/** @param {{ secret: string, isForModels: boolean, onClose: () => void }} props */
function Made({ secret, isForModels, onClose }) {
  const code = snippet(secret);
  return html`<${Dialog} title=${text.account.keyMade} onClose=${onClose}><div class="stack">
    <${Notice} kind="warn">${text.account.keyOnce}</${Notice}><${CopyLine} value=${secret} />
    ${isForModels && html`<h3>${text.account.keyUse}</h3><div class="copy-block"><pre tabindex="0">${code}</pre><${CopyButton} value=${code} class="small" /></div>`}
    <p class="quiet small">${text.account.caHint}</p>
    <div class="dialog-foot"><button type="button" class="button primary" onClick=${onClose}>${text.done}</button></div></div></${Dialog}>`;
}

/** @param {string} secret */
function snippet(secret) {
  const model = models.value.find((one) => one.default)?.id ?? models.value[0]?.id ?? "guide";
  return `import ssl
from openai import DefaultHttpxClient, OpenAI

client = OpenAI(
    base_url="${location.origin}/v1",
    api_key="${secret}",
    http_client=DefaultHttpxClient(
        verify=ssl.create_default_context(cafile="ca.pem"),
    ),
)
answer = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)`;
}
