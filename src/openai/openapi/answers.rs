//! The shapes of answers: from their types, where they have one, and from the files beside this one.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::openai::chat_answer::{ChatCompletion, Chunk};
use crate::openai::completion_answer::TextCompletion;
use crate::openai::moderations::Moderation;
use crate::openai::text_answer::{EmbeddingList, Ranking};
use crate::openai::token_answer::{Spelled, TokenList};
use crate::openai::{anthropic, organization, responses};
use crate::web::error::ErrorBody;

/// What has no type of its own: what is read field by field, and what is written piece by piece.
const FORMS: [(&str, &str); 4] = [
    ("chat.json", include_str!("chat.json")),
    ("responses.json", include_str!("responses.json")),
    ("messages.json", include_str!("messages.json")),
    ("server.json", include_str!("server.json")),
];

/// Every shape by its name.
pub(super) fn all() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut shapes = settings.for_serialize().into_generator();
    add(&mut shapes);
    let mut all = shapes.take_definitions(true);
    for (_, form) in FORMS {
        all.extend(read(form));
    }
    all
}

fn add(shapes: &mut SchemaGenerator) {
    shapes.subschema_for::<ErrorBody<'_>>();
    shapes.subschema_for::<ChatCompletion<'_>>();
    shapes.subschema_for::<Chunk<'_>>();
    shapes.subschema_for::<TextCompletion<'_>>();
    shapes.subschema_for::<EmbeddingList>();
    shapes.subschema_for::<Ranking>();
    shapes.subschema_for::<TokenList>();
    shapes.subschema_for::<Spelled>();
    shapes.subschema_for::<Moderation>();
    responses::shapes::add(shapes);
    anthropic::shapes::add(shapes);
    organization::shapes::add(shapes);
}

fn read(form: &str) -> Map<String, Value> {
    serde_json::from_str(form).expect("the files are JSON objects: checked by a test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_an_object_and_no_name_stands_twice() {
        let mut names: Vec<String> = Vec::new();
        for (file, form) in FORMS {
            let form: Map<String, Value> = serde_json::from_str(form).expect(file);
            assert!(!form.is_empty(), "{file}");
            names.extend(form.into_iter().map(|(name, _)| name));
        }
        let mut shapes = SchemaSettings::draft2020_12().for_serialize().into_generator();
        add(&mut shapes);
        names.extend(shapes.take_definitions(true).into_iter().map(|(name, _)| name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
        // Two types of one name are told apart by a number, which says nothing to a reader.
        let numbered = names.iter().find(|name| name.ends_with(|c: char| c.is_ascii_digit()));
        assert_eq!(numbered, None);
    }
}
