//! Every route with every role: the table of routes against what the server does.

use super::*;
use crate::access::permission::BuiltinRole;
use crate::access::route::Access;
use crate::web::programs::is_of_programs;

/// A path of this route: ids that nobody has in the place of its parameters.
pub(super) fn path_of(pattern: &str) -> String {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        path.push_str(before);
        path.push_str("nothing");
        rest = after.split_once('}').map_or("", |(_, tail)| tail);
    }
    path + rest
}

#[actix_web::test]
async fn class_04_every_route_lets_in_whom_its_row_names_and_nobody_else() {
    let house = House::new().await;
    let owner = house.owner().await;
    let mut visitors = vec![(BuiltinRole::Owner, owner.clone())];
    for role in BuiltinRole::ALL.iter().filter(|role| **role != BuiltinRole::Owner) {
        let (_, browser) =
            house.person(&owner, &format!("one-{}", role.name()), &[role.name()]).await;
        visitors.push((*role, browser));
    }
    let routes = routes::all();
    let mut checked = 0;
    for row in routes.table() {
        // Signing out would end the session that the next rows need.
        if row.path == "/api/session" && row.method == Method::DELETE {
            continue;
        }
        let path = path_of(row.path);
        let body = (row.method != Method::GET).then(|| json!({}));
        let stranger =
            house.send(&Visitor::default(), row.method.clone(), &path, body.clone()).await;
        let is_open = row.access == Access::Public;
        let was_refused = matches!(stranger.code(), "not_signed_in" | "invalid_api_key");
        assert_eq!(was_refused, !is_open, "a stranger, {} {path}: {stranger:?}", row.method);
        checked += 1;
        // Doors for programs take keys, and are looked at below.
        if is_of_programs(&path) || path == "/metrics" || is_open {
            continue;
        }
        for (role, visitor) in &visitors {
            let answer = house.send(visitor, row.method.clone(), &path, body.clone()).await;
            let may = match row.access {
                Access::Public | Access::SignedIn => true,
                Access::Permission(permission) => role.permissions().has(permission),
            };
            let was_let_in =
                !matches!(answer.code(), "permission_denied" | "not_signed_in" | "cross_origin");
            assert_eq!(was_let_in, may, "{role}, {} {path}: {answer:?}", row.method);
            checked += 1;
        }
    }
    assert!(checked > 150, "{checked} pairs of route and role");
}

#[actix_web::test]
async fn keys_open_the_doors_for_programs_as_far_as_their_owner_may() {
    let house = House::new().await;
    let owner = house.owner().await;
    for role in ["owner", "admin", "operator", "member"] {
        let (_, browser) = house.person(&owner, &format!("key-{role}"), &[role]).await;
        let (_, program) = house.key(&browser, json!({ "name": "script" })).await;
        let answer = house.get(&program, "/v1/models").await;
        assert_eq!(answer.status, StatusCode::OK, "{role}: {answer:?}");
        let answer = house.get(&program, "/metrics").await;
        assert_eq!(answer.code(), "permission_denied", "the scope was not asked for");
    }
    let (_, auditor) = house.person(&owner, "aude", &["auditor"]).await;
    let made = house.post(&auditor, "/api/me/keys", json!({ "name": "script" })).await;
    assert_eq!(made.code(), "permission_denied");
}
