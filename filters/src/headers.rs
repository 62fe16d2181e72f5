//! Header edits of `RequestHeaderModifier` and `ResponseHeaderModifier`.

use http::header::{self, HeaderName, HeaderValue};
use outrigger_snapshot::head::{RequestHead, ResponseHead};
use outrigger_snapshot::policy;

use crate::chain::FilterError;

/// Fields that frame a message or belong to one connection: no filter may touch them.
const UNTOUCHABLE: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes, then sets, then adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderEdit {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdit {
    pub(crate) fn build(edit: &policy::HeaderEdit) -> Result<Self, FilterError> {
        let field = |(name, value): &(String, String)| Ok((parse_name(name)?, parse_value(name, value)?));
        Ok(Self {
            remove: edit.remove.iter().map(|name| parse_name(name)).collect::<Result<_, _>>()?,
            set: edit.set.iter().map(field).collect::<Result<_, _>>()?,
            add: edit.add.iter().map(field).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn on_request(&self, head: &mut RequestHead) {
        self.remove.iter().for_each(|name| head.remove_header(name));
        self.set.iter().for_each(|(name, value)| head.set_header(name.clone(), value.clone()));
        self.add.iter().for_each(|(name, value)| head.add_header(name.clone(), value.clone()));
    }

    pub(crate) fn on_response(&self, head: &mut ResponseHead) {
        self.remove.iter().for_each(|name| head.remove_header(name));
        self.set.iter().for_each(|(name, value)| head.set_header(name.clone(), value.clone()));
        self.add.iter().for_each(|(name, value)| head.add_header(name.clone(), value.clone()));
    }
}

fn parse_name(text: &str) -> Result<HeaderName, FilterError> {
    let name =
        HeaderName::from_bytes(text.as_bytes()).map_err(|_| FilterError::HeaderName(text.to_owned()))?;
    if UNTOUCHABLE.contains(&name) { Err(FilterError::Untouchable(name)) } else { Ok(name) }
}

fn parse_value(name: &str, text: &str) -> Result<HeaderValue, FilterError> {
    HeaderValue::from_str(text).map_err(|_| FilterError::HeaderValue { name: name.to_owned() })
}
