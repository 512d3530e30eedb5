//! Scripts of other servers' pages: what a browser is told of whether they may.

use super::*;
use crate::web::programs::is_of_programs;

const PAGE: &str = "https://app.example.org";

fn from(origin: &str, method: Method, path: &str) -> TestRequest {
    let request = TestRequest::with_uri(path).method(method).insert_header(("host", "localhost"));
    request.insert_header(("origin", origin))
}

fn asks(origin: &str, path: &str) -> TestRequest {
    from(origin, Method::OPTIONS, path)
        .insert_header(("access-control-request-method", "POST"))
        .insert_header(("access-control-request-headers", "authorization,x-stainless-lang"))
}

#[actix_web::test]
async fn class_17_pages_that_are_named_may_use_the_api_with_a_key_and_nothing_else() {
    let setting = format!("[\"{PAGE}\", \"http://localhost:3000\"]");
    let house = House::with(&[("server.cors_origins", &setting)]).await;
    let owner = house.owner().await;
    let (_, script) = house.key(&owner, json!({ "name": "page" })).await;
    let bearer = format!("Bearer {}", script.key.expect("a key"));

    for page in [PAGE, "http://localhost:3000"] {
        let may = house.call(asks(page, "/v1/chat/completions")).await;
        assert_eq!(may.status, StatusCode::NO_CONTENT);
        assert_eq!(may.header("access-control-allow-origin"), Some(page));
        // Every method that an address for programs takes.
        let methods = may.header("access-control-allow-methods").expect("a list");
        let taken = routes::all();
        for row in taken.table().iter().filter(|row| is_of_programs(row.path)) {
            assert!(methods.split(", ").any(|one| one == row.method.as_str()), "{methods}");
        }
        assert_eq!(methods, "GET, POST, DELETE");
        let headers = may.header("access-control-allow-headers");
        assert_eq!(headers, Some("authorization,x-stainless-lang"));
        assert_eq!(may.header("vary"), Some("origin"));
        assert_eq!(may.header("access-control-allow-credentials"), None);
    }
    let request = from(PAGE, Method::GET, "/v1/models");
    let answer = house.call(request.insert_header(("authorization", bearer))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    let exposed = answer.header("access-control-expose-headers").expect("a list");
    for (name, _) in answer.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-rate")) {
        assert!(exposed.contains(name.as_str()), "{name}");
    }
    // A refusal can be read too.
    let refused = house.call(from(PAGE, Method::GET, "/v1/models")).await;
    assert_eq!(refused.code(), "invalid_api_key");
    assert_eq!(refused.header("access-control-allow-origin"), Some(PAGE));

    let cookie = format!("__Host-strongroom={}", owner.cookie.as_deref().expect("a cookie"));
    let with_cookie = from(PAGE, Method::GET, "/v1/models").insert_header(("cookie", cookie));
    assert_eq!(house.call(with_cookie).await.code(), "invalid_api_key", "cookies open nothing");
    for (origin, path) in [
        ("https://evil.example", "/v1/models"),
        ("https://app.example.org.evil.example", "/v1/models"),
        ("http://app.example.org", "/v1/models"),
        ("https://app.example.org:8443", "/v1/models"),
        ("null", "/v1/models"),
        (PAGE, "/api/me"),
        (PAGE, "/api/session"),
        (PAGE, "/v2/models"),
        (PAGE, "/metrics"),
        (PAGE, "/"),
    ] {
        for request in [asks(origin, path), from(origin, Method::GET, path)] {
            let answer = house.call(request).await;
            assert_ne!(answer.status, StatusCode::NO_CONTENT, "{origin} {path}");
            for (name, _) in &answer.headers {
                let name = name.as_str();
                assert!(!name.starts_with("access-control-"), "{origin} {path}: {name}");
            }
        }
    }
}

#[actix_web::test]
async fn class_17_without_the_setting_no_other_page_may() {
    let house = House::new().await;
    let answer = house.call(asks(PAGE, "/v1/models")).await;
    assert_eq!(answer.code(), "method_not_allowed");
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), (None, None));
}
