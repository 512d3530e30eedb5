// Which administration pages there are, and which permission shows each.
import { text } from "../messages.js";
import { may } from "../state.js";

const all = [
  { id: "overview", icon: "gauge", needs: ["posture.read"] },
  { id: "people", icon: "people", needs: ["people.read", "people.manage"] },
  { id: "roles", icon: "grid", needs: ["people.read", "people.manage"] },
  { id: "models", icon: "cpu", needs: ["models.read", "models.manage"] },
  { id: "prompts", icon: "pencil", needs: ["prompts.manage"] },
  { id: "usage", icon: "chart", needs: ["usage.read"] },
  { id: "guard", icon: "shield", needs: ["guard.read"] },
  { id: "audit", icon: "list", needs: ["audit.read"] },
  { id: "alerts", icon: "bell", needs: ["posture.read"] },
  { id: "evaluations", icon: "scales", needs: ["evals.read", "evals.run"] },
];

/** The pages that the person at hand may see. */
export function adminPages() {
  return all.filter((page) => may(...page.needs)).map((page) => ({
    ...page,
    href: `/admin/${page.id}`,
    name: /** @type {Record<string, string>} */ (text.admin.nav)[page.id] ?? page.id,
  }));
}
