//! The bill of materials that is inside the binary: written by `build.rs` from Cargo.lock.

/// The CycloneDX 1.6 document, as JSON.
pub(crate) const CYCLONEDX: &str = include_str!(concat!(env!("OUT_DIR"), "/sbom.cdx.json"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_what_the_binary_is_made_from_and_not_its_tests() {
        let document: serde_json::Value = serde_json::from_str(CYCLONEDX).expect("JSON");
        let names: Vec<_> = document["components"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|component| component["name"].as_str())
            .collect();
        for name in ["candle-core", "actix-web", "rustls", "rusqlite", "aes-gcm", "aws-lc-sys"] {
            assert!(names.contains(&name), "{name}");
        }
        for name in ["proptest", "criterion", "ureq"] {
            assert!(!names.contains(&name), "{name}");
        }
        assert_eq!(document["specVersion"], "1.6");
        assert!(
            document["components"][0]["hashes"][0]["content"]
                .as_str()
                .is_some_and(|sum| sum.len() == 64)
        );
    }
}
