//! The document as a whole: nothing in it leads astray, nothing is left unsaid.

use super::*;

/// Every `$ref` below here.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(to) if name == "$ref" => found.push(to.clone()),
                    other => references(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_shape_is_used() {
    let document = build();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 200, "{}", found.len());
    for reference in &found {
        let pointer = reference.strip_prefix('#').expect("inside of the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for name in document["components"]["schemas"].as_object().expect("an object").keys() {
        let is_used = found.iter().any(|one| *one == format!("#/components/schemas/{name}"));
        assert!(is_used, "{name} is not used");
    }
}

#[test]
fn every_operation_says_what_it_does_and_shows_how() {
    let document = build();
    let mut ids: Vec<&str> = operations::all().map(|operation| operation.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), operations::all().count(), "two of one id");
    for operation in operations::all() {
        let written = &document["paths"][operation.path][operation.method.to_lowercase()];
        let what = operation.id;
        assert!(operation.summary.ends_with('.'), "{what} says nothing");
        assert_eq!(written["requestBody"].is_object(), operation.takes.is_some(), "{what}");
        assert_eq!(written["x-codeSamples"][0]["label"], "curl", "{what}");
        if operation.takes.is_some() {
            let example = &written["requestBody"]["content"]["application/json"]["example"];
            assert!(example.is_object(), "{what} has no example");
        }
        for field in operation.fields {
            assert!(serde_json::from_str::<Value>(field.shape).is_ok(), "{what}: {}", field.name);
        }
        let is_open = written["security"].as_array().is_some_and(Vec::is_empty);
        assert_eq!(is_open, operation.who == Who::Everybody, "{what}");
        assert_eq!(written["responses"]["401"].is_null(), is_open, "{what}");
        let is_refused = matches!(operation.gives, Gives::Nothing);
        assert_eq!(written["responses"]["200"].is_null(), is_refused, "{what}");
    }
}

#[test]
fn what_goes_wrong_is_told_by_its_codes_and_in_the_shape_of_its_clients() {
    let document = build();
    let told = |path: &str, status: &str| {
        document["paths"][path]["post"]["responses"][status]["content"]["application/json"]["schema"]
            .clone()
    };
    let chat = told("/v1/chat/completions", "400");
    assert_eq!(chat["allOf"][0], shape("Error"));
    let codes = &chat["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"];
    for code in ["invalid_value", "content_policy", "context_length_exceeded"] {
        assert!(codes.as_array().is_some_and(|all| all.iter().any(|one| one == code)), "{codes}");
    }
    assert!(told("/v1/chat/completions", "529").is_null());
    assert_eq!(told("/v1/messages", "529")["allOf"][0], shape("MessageError"));
}

#[test]
fn what_may_be_posted_again_has_a_key_and_tells_of_it() {
    let document = build();
    for operation in operations::all() {
        let written = &document["paths"][operation.path][operation.method.to_lowercase()];
        let parameters = written["parameters"].as_array().cloned().unwrap_or_default();
        let has_key = parameters.iter().any(|one| one["name"] == "Idempotency-Key");
        let codes =
            written["responses"]["409"]["content"]["application/json"]["schema"].to_string();
        let is_posted = operation.method == "POST";
        assert_eq!(has_key, is_posted, "{}", operation.id);
        assert_eq!(codes.contains("idempotency_in_progress"), is_posted, "{}", operation.id);
        let replayed = &written["responses"]["400"]["headers"]["idempotency-replayed"];
        assert_eq!(replayed.is_object(), is_posted, "{}", operation.id);
    }
}

#[test]
fn models_are_told_in_the_shape_of_whoever_asks() {
    let document = build();
    for (path, ours, theirs) in [
        ("/v1/models", "ModelList", "MessagesModelPage"),
        ("/v1/models/{id}", "Model", "MessagesModel"),
    ] {
        let responses = &document["paths"][path]["get"]["responses"];
        let schema =
            |status: &str| responses[status]["content"]["application/json"]["schema"].clone();
        assert_eq!(schema("200"), json!({ "anyOf": [shape(ours), shape(theirs)] }));
        let refused = schema("401");
        assert_eq!(refused["anyOf"][0]["allOf"][0], shape("Error"));
        assert_eq!(refused["anyOf"][1]["allOf"][0], shape("MessageError"));
        // Overloaded: a status of theirs alone.
        assert_eq!(schema("529")["allOf"][0], shape("MessageError"));
        assert_eq!(schema("503")["anyOf"][0]["allOf"][0], shape("Error"));
    }
}
