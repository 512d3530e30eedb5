//! Every route on one page: method, path, handler; nothing else.

use crate::access::Routes;
use crate::{accounts, admin, chat, evals, groups, keys, models, monitor, openai, prompts, usage};

/// The routes of the server.
pub(crate) fn all() -> Routes {
    let routes = Routes::new()
        // Alive, ready, numbers
        .get("/healthz", admin::api::alive)
        .get("/readyz", admin::api::ready)
        .get("/metrics", monitor::api::metrics)
        // What programs may ask for, for them and for people
        .get("/openapi.json", openai::openapi::api::document)
        .get("/docs", admin::api::reference)
        // Programs
        .get("/v1/models", openai::api::models)
        .get("/v1/models/{id:.+}", openai::api::model)
        .post("/v1/chat/completions", openai::api::chat_completions)
        .post("/v1/completions", openai::api::completions)
        .post("/v1/responses", openai::responses::api::create)
        .post("/v1/responses/input_tokens", openai::responses::api::input_tokens)
        .post("/v1/responses/compact", openai::responses::api::compact)
        .get("/v1/responses/{id}", openai::responses::api::read)
        .delete("/v1/responses/{id}", openai::responses::api::delete)
        .get("/v1/responses/{id}/input_items", openai::responses::api::input_items)
        .post("/v1/responses/{id}/cancel", openai::responses::api::cancel)
        .post("/v1/embeddings", openai::api::embeddings)
        .post("/v1/rerank", openai::api::rerank)
        .post("/v1/tokenize", openai::api::tokenize)
        .post("/v1/detokenize", openai::api::detokenize)
        .post("/v1/moderations", openai::moderations::api::moderations)
        .post("/v1/messages", openai::anthropic::api::messages)
        .post("/v1/messages/count_tokens", openai::anthropic::api::count_tokens)
        .get("/v1/organization/usage/completions", openai::organization::api::completions)
        .get("/v1/organization/usage/embeddings", openai::organization::api::embeddings)
        .get("/v1/organization/usage/moderations", openai::organization::api::moderations)
        .get("/v1/organization/costs", openai::organization::api::costs)
        // The same where clients of other servers look for it
        .post("/rerank", openai::api::rerank)
        .post("/tokenize", openai::api::tokenize)
        .post("/detokenize", openai::api::detokenize);
    web_app(conversations(people(routes)))
}

fn people(routes: Routes) -> Routes {
    routes
        .get("/api/status", accounts::api::status)
        .post("/api/setup", accounts::api::setup)
        .post("/api/invitation", accounts::api::invitation)
        .post("/api/session", accounts::api::sign_in)
        .delete("/api/session", accounts::api::sign_out)
        .get("/api/me", accounts::api::me)
        .patch("/api/me", accounts::api::rename)
        .post("/api/me/password", accounts::api::change_password)
        .get("/api/me/sessions", accounts::api::sessions)
        .delete("/api/me/sessions/{id}", accounts::api::end_session)
        .get("/api/me/keys", keys::api::list)
        .post("/api/me/keys", keys::api::create)
        .patch("/api/me/keys/{id}", keys::api::change)
        .delete("/api/me/keys/{id}", keys::api::revoke)
        .get("/api/me/usage", usage::api::own)
        .get("/api/models", models::api::list)
        .get("/api/admin/people", accounts::admin_api::people)
        .post("/api/admin/people", accounts::admin_api::invite)
        .patch("/api/admin/people/{id}", accounts::admin_api::change)
        .delete("/api/admin/people/{id}", accounts::admin_api::delete)
        .post("/api/admin/people/{id}/reset", accounts::admin_api::reset)
        .get("/api/admin/roles", accounts::admin_api::roles)
        .get("/api/admin/groups", groups::api::list)
        .post("/api/admin/groups", groups::api::add)
        .patch("/api/admin/groups/{id}", groups::api::change)
        .delete("/api/admin/groups/{id}", groups::api::remove)
        .get("/api/admin/models", models::api::admin_list)
        .post("/api/admin/models/{id:.+}/load", models::api::load)
        .post("/api/admin/models/{id:.+}/unload", models::api::unload)
        .post("/api/admin/models/{id:.+}/cancel", models::api::cancel)
        .patch("/api/admin/models/{id:.+}", models::api::change_access)
        .post("/api/admin/model-scan", models::api::scan)
        .post("/api/admin/model-aliases", models::api::add_alias)
        .delete("/api/admin/model-aliases/{alias:.+}", models::api::remove_alias)
        .get("/api/admin/prompts", prompts::api::list)
        .post("/api/admin/prompts", prompts::api::add)
        .patch("/api/admin/prompts/{id}", prompts::api::change)
        .delete("/api/admin/prompts/{id}", prompts::api::remove)
        .get("/api/admin/usage", usage::api::report)
        .get("/api/admin/audit", admin::audit_api::list)
        .post("/api/admin/audit/verify", admin::audit_api::verify)
        .get("/api/admin/guard", admin::guard_api::show)
        .post("/api/admin/guard/test", admin::guard_api::test)
        .get("/api/admin/overview", monitor::api::overview)
        .get("/api/admin/posture", monitor::api::posture)
        .get("/api/admin/alerts", monitor::api::alerts)
        .post("/api/admin/alerts/{id}/acknowledge", monitor::api::acknowledge)
        .get("/api/admin/evaluations", evals::api::list)
        .post("/api/admin/evaluations", evals::api::start)
        .get("/api/admin/evaluations/{id}/report", evals::api::read_report)
}

fn conversations(routes: Routes) -> Routes {
    routes
        .get("/api/prompts", prompts::api::choices)
        .get("/api/conversations", chat::api::list)
        .post("/api/conversations", chat::api::create)
        .get("/api/conversations/{id}", chat::api::read)
        .patch("/api/conversations/{id}", chat::api::update)
        .delete("/api/conversations/{id}", chat::api::delete)
        .post("/api/conversations/{id}/messages", chat::api::say)
        .post("/api/conversations/{id}/stop", chat::api::stop)
        .get("/api/conversations/{id}/stream", chat::api::follow)
}

fn web_app(routes: Routes) -> Routes {
    routes
        .get("/", admin::api::page)
        .get("/setup", admin::api::page)
        .get("/invite", admin::api::page)
        .get("/sign-in", admin::api::page)
        .get("/account", admin::api::page)
        .get("/c/{rest:.*}", admin::api::page)
        .get("/admin", admin::api::page)
        .get("/admin/{rest:.*}", admin::api::page)
        .get("/static/{path:.*}", admin::api::asset)
        .get("/.well-known/security.txt", admin::api::security_txt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::permission::Permission;
    use crate::access::route::{Access, RouteRow};
    use crate::web::programs::{BARE, is_of_programs};

    #[test]
    fn only_these_routes_are_open_to_everybody() {
        let routes = all();
        let open: Vec<String> = routes
            .table()
            .iter()
            .filter(|row| row.access == Access::Public)
            .map(|row| format!("{} {}", row.method, row.path))
            .collect();
        assert_eq!(
            open,
            [
                "GET /healthz",
                "GET /readyz",
                "GET /openapi.json",
                "GET /docs",
                "GET /api/status",
                "POST /api/setup",
                "POST /api/invitation",
                "POST /api/session",
                "GET /",
                "GET /setup",
                "GET /invite",
                "GET /sign-in",
                "GET /account",
                "GET /c/{rest:.*}",
                "GET /admin",
                "GET /admin/{rest:.*}",
                "GET /static/{path:.*}",
                "GET /.well-known/security.txt",
            ]
        );
    }

    #[test]
    fn bare_addresses_do_what_those_below_v1_do() {
        let routes = all();
        for bare in BARE {
            let of = |path: &str| {
                let mut rows = routes.table().iter().filter(|row| row.path == path);
                rows.next().map(|row| (row.method.clone(), row.access))
            };
            assert!(of(bare).is_some(), "{bare}");
            assert_eq!(of(bare), of(&format!("/v1{bare}")), "{bare}");
        }
    }

    #[test]
    fn the_specification_has_every_route_for_programs_and_no_other() {
        let is_for_programs = |row: &&RouteRow| {
            is_of_programs(row.path)
                || row.access == Access::Permission(Permission::UseApi)
                || ["/healthz", "/readyz", "/metrics", "/openapi.json"].contains(&row.path)
        };
        let routes = all();
        let mut mounted: Vec<String> = routes
            .table()
            .iter()
            .filter(is_for_programs)
            .map(|row| format!("{} {}", row.method, row.path.replace(":.+}", "}")))
            .collect();
        let mut listed = openai::openapi::listed();
        mounted.sort_unstable();
        listed.sort_unstable();
        assert_eq!(mounted, listed, "src/openai/openapi/operations.rs");
    }

    #[test]
    fn admin_routes_need_a_permission_and_not_just_an_account() {
        for row in all().table() {
            if row.path.starts_with("/api/admin") || is_of_programs(row.path) {
                assert!(matches!(row.access, Access::Permission(_)), "{} {}", row.method, row.path);
            }
        }
    }
}
