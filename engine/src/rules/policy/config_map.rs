//! ConfigMaps as content of policies.
//!
//! Start at [`KIND`].

use serde_json::Value;

use super::ContentKind;
use crate::rules::read::content::{Fault, Texts, refuse_other_fields, strings};

/// What a ConfigMap is to rules. Each key of `data` is a text.
pub(super) const KIND: ContentKind =
    ContentKind { name: "ConfigMap", must_have: None, is_recorded: true, texts_field: "data", texts: texts_of_data };

fn texts_of_data(manifest: &Value) -> Result<Texts, Fault> {
    refuse_other_fields(manifest, &["data", "binaryData", "immutable"])?;
    strings(manifest, "data")
}
