//! What an address may ask of a kept response: how it is shown, and which of its items are listed.

use schemars::JsonSchema;
use serde::Serialize;

use super::items::Item;
use super::request::check_included;
use crate::openai::addresses::{Address, honoured};
use crate::openai::fields::wrong;
use crate::openai::parameters::unknown;
use crate::web::ApiError;

const LIMIT: usize = 20;
const LIMIT_MAX: usize = 100;

/// Some of the items that came in, in one order or the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    after: Option<String>,
    limit: usize,
    is_newest_first: bool,
}

/// A list as OpenAI's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ItemList")]
pub(super) struct Items {
    object: &'static str,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
    data: Vec<Item>,
}

/// Holds the query of a response against what there is: nothing of it is streamed again.
pub(super) fn shown(query: &[(String, String)]) -> Result<(), ApiError> {
    for (name, value) in honoured(query, Address::Response)? {
        match (name, value) {
            ("include" | "include[]", name) => check_included("include", name)?,
            ("include_obfuscation", "true" | "false") => {}
            ("include_obfuscation", _) => return Err(wrong(name, "true or false")),
            _ => return Err(unknown(name)),
        }
    }
    Ok(())
}

impl Page {
    /// Reads the query of a list.
    pub(super) fn read(query: &[(String, String)]) -> Result<Self, ApiError> {
        let mut page = Self { after: None, limit: LIMIT, is_newest_first: true };
        for (name, value) in honoured(query, Address::InputItems)? {
            match name {
                "include" | "include[]" => check_included("include", value)?,
                "after" => page.after = Some(value.to_owned()),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    page.limit =
                        limit.ok_or_else(|| wrong(name, "a whole number from 1 to 100"))?;
                }
                "order" => {
                    page.is_newest_first = match value {
                        "desc" => true,
                        "asc" => false,
                        _ => return Err(wrong(name, "`asc` or `desc`")),
                    };
                }
                _ => return Err(unknown(name)),
            }
        }
        Ok(page)
    }

    /// Those of the items that it asks for.
    pub(super) fn of(&self, mut items: Vec<Item>) -> Result<Items, ApiError> {
        if self.is_newest_first {
            items.reverse();
        }
        let begin = match &self.after {
            None => 0,
            Some(after) => {
                let at = items.iter().position(|item| item.id() == after);
                at.ok_or_else(|| wrong("after", "the id of an item of this response"))? + 1
            }
        };
        let data: Vec<Item> = items.iter().skip(begin).take(self.limit).cloned().collect();
        let id = |item: Option<&Item>| item.map(|item| item.id().to_owned());
        Ok(Items {
            object: "list",
            first_id: id(data.first()),
            last_id: id(data.last()),
            has_more: begin + data.len() < items.len(),
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pairs(query: &[(&str, &str)]) -> Vec<(String, String)> {
        query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn refused_at(result: Result<(), ApiError>) -> Option<String> {
        let body = serde_json::to_value(result.err()?.body()).expect("plain");
        body["error"]["param"].as_str().map(str::to_owned)
    }

    #[test]
    fn items_come_in_pages_from_either_end() {
        let item = |at: usize| {
            json!({"type": "message", "id": format!("m{at}"), "status": "completed",
            "role": "user", "content": []})
        };
        let items: Vec<Item> =
            serde_json::from_value((0..5).map(item).collect::<Value>()).expect("items");
        for (query, ids, has_more) in [
            (&[][..], "m4 m3 m2 m1 m0", false),
            (&[("order", "asc"), ("limit", "2")], "m0 m1", true),
            (&[("order", "asc"), ("limit", "2"), ("after", "m2")], "m3 m4", false),
            (&[("limit", "1"), ("after", "m2")], "m1", true),
            (&[("after", "m0")], "", false),
        ] {
            let page =
                Page::read(&pairs(query)).expect("passes").of(items.clone()).expect("is there");
            let shown: Vec<&str> = page.data.iter().map(Item::id).collect();
            assert_eq!((shown.join(" ").as_str(), page.has_more), (ids, has_more), "{query:?}");
            assert_eq!(page.first_id.as_deref(), shown.first().copied());
            assert_eq!(page.last_id.as_deref(), shown.last().copied());
        }
        let page = Page::read(&pairs(&[("after", "x")])).expect("passes");
        assert_eq!(refused_at(page.of(items).map(drop)).as_deref(), Some("after"));
    }

    #[test]
    fn what_an_address_cannot_ask_is_refused_by_name() {
        for (query, param) in [
            (&[("limit", "0")], "limit"),
            (&[("limit", "101")], "limit"),
            (&[("limit", "x")], "limit"),
            (&[("order", "up")], "order"),
            (&[("include[]", "x")], "include"),
            (&[("colour", "1")], "colour"),
        ] {
            assert_eq!(refused_at(Page::read(&pairs(query)).map(drop)).as_deref(), Some(param));
        }
        for (query, param) in [
            (&[("stream", "true")], "stream"),
            (&[("starting_after", "1")], "starting_after"),
            (&[("include_obfuscation", "1")], "include_obfuscation"),
            (&[("include", "file_search_call.results")], "include"),
            (&[("after", "x")], "after"),
        ] {
            assert_eq!(refused_at(shown(&pairs(query))).as_deref(), Some(param));
        }
        let fine = [("stream", "false"), ("include[]", "message.output_text.logprobs")];
        assert_eq!(refused_at(shown(&pairs(&fine))), None);
    }
}
