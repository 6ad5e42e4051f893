//! Secrets as content of policies: of one type only, and never written to the log.
//!
//! Start at [`KIND`].

use serde_json::Value;

use super::ContentKind;
use crate::rules::read::content::{Fault, Texts, refuse_other_fields, strings};

/// The one type of Secret that may be applied: a rule must not be a way to read any other.
pub const SECRET_TYPE: &str = "addons.projectsveltos.io/cluster-profile";

/// What a Secret is to rules. Each key of `data` is a text in base64, each key of `stringData` a text.
pub(super) const KIND: ContentKind = ContentKind {
    name: "Secret",
    must_have: Some(("type", SECRET_TYPE)),
    is_recorded: false,
    texts_field: "stringData",
    texts: decoded_texts,
};

fn decoded_texts(manifest: &Value) -> Result<Texts, Fault> {
    let found = manifest["type"].as_str().unwrap_or("Opaque");
    if found != SECRET_TYPE {
        return Err(Fault::new(format!("the Secret is of type `{found}`, expected `{SECRET_TYPE}`"))
            .hint(format!("create it with `type: {SECRET_TYPE}`; the type of a Secret cannot be changed"))
            .at("type"));
    }
    refuse_other_fields(manifest, &["data", "stringData", "type", "immutable"])?;
    let mut texts = Texts::new();
    for (key, encoded) in strings(manifest, "data")? {
        let compact: String = encoded.split_ascii_whitespace().collect();
        let bytes = data_encoding::BASE64.decode(compact.as_bytes());
        // The content stays out of the message: it is a secret.
        let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
            Fault::new(format!("`data.{key}` is not base64 of a text"))
                .hint("plain text goes to `stringData`")
                .at(format!("data.{key}"))
        })?;
        texts.insert(key, text);
    }
    // As the API server does: `stringData` wins.
    texts.extend(strings(manifest, "stringData")?);
    Ok(texts)
}
