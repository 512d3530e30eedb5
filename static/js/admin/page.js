// The administration: a list of pages at the left, the chosen one at the right.
import { html, useEffect } from "../lib.js";
import { text } from "../messages.js";
import { go } from "../state.js";
import { Icon } from "../ui/icons.js";
import { adminPages } from "./pages.js";
import { AuditPage } from "./audit.js";
import { AlertsPage, EvaluationsPage } from "./evaluations.js";
import { GuardPage } from "./guard.js";
import { ModelsPage, RolesPage } from "./models.js";
import { OverviewPage } from "./overview.js";
import { PeoplePage } from "./people.js";
import { PromptsPage } from "./prompts.js";
import { UsagePage } from "./usage.js";

/** @type {Record<string, () => any>} */
const views = {
  overview: OverviewPage, people: PeoplePage, roles: RolesPage, models: ModelsPage,
  prompts: PromptsPage, usage: UsagePage, guard: GuardPage, audit: AuditPage, alerts: AlertsPage, evaluations: EvaluationsPage,
};

/** @param {{ at: string }} props */
export function AdminPage({ at }) {
  const pages = adminPages();
  const page = pages.find((one) => one.href === at);
  // On a phone the list is one scrolling line.
  useEffect(() => document.querySelector(".admin-nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }), [at]);
  useEffect(() => { if (!page && pages[0]) go(pages[0].href, { replace: true }); }, [at]);
  if (pages.length === 0) return html`<div class="page"><p class="quiet">${text.admin.nothing}</p></div>`;
  const View = views[page?.id ?? ""];
  return html`<div class="admin"><nav aria-label=${text.admin.title}><ul class="admin-nav">${pages.map((one) => html`<li key=${one.id}>
      <a href=${one.href} aria-current=${one === page ? "page" : undefined}><${Icon} name=${one.icon} size="small" />${one.name}</a></li>`)}</ul></nav>
    <div>${View && html`<${View} key=${page?.id} />`}</div></div>`;
}
