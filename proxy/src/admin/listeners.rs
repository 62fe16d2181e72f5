//! `GET /listeners`: where connections come in, and how many there are.

use std::fmt::Write;

use http::StatusCode;

use super::answer::Answer;
use crate::crew::ListenerView;

pub(super) fn answer(listeners: &[ListenerView], query: &str) -> Answer {
    match query.split('&').find_map(|pair| pair.strip_prefix("format=")) {
        Some("json") => Answer::serialized(&listeners),
        None | Some("text") => Answer::text(StatusCode::OK, text(listeners)),
        Some(_) => Answer::text(StatusCode::BAD_REQUEST, "expected format=json or format=text\n"),
    }
}

fn text(listeners: &[ListenerView]) -> String {
    let mut text = String::new();
    for ListenerView { name, address, direction, state, connections, accepted } in listeners {
        // A String takes every write.
        let _ = write!(text, "{name}  {address}  {}  {state}", direction.unwrap_or("own"));
        if let (Some(connections), Some(accepted)) = (connections, accepted) {
            let _ = write!(text, "  connections {connections}  accepted {accepted}");
        }
        text.push('\n');
    }
    text
}
