//! Which format a scrape gets (RFC 9110 §12.5.1, "Accept").

/// A format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text, version 0.0.4: whoever does not ask gets this.
    Text,
    /// Text with exemplars.
    OpenMetrics,
    /// Messages, with native histograms.
    Protobuf,
}

impl Format {
    /// The one that is asked for most; of equals that which says most.
    pub fn asked(accept: &str) -> Self {
        let ranges = accept.split(',').filter_map(range);
        let best = ranges.fold(None, |best: Option<(Self, u16)>, (format, weight)| match best {
            Some((known, most)) if most > weight || (most == weight && known.says() >= format.says()) => {
                Some((known, most))
            }
            _ => Some((format, weight)),
        });
        best.map_or(Self::Text, |(format, _)| format)
    }

    /// What to send as `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    fn says(self) -> u8 {
        self as u8
    }
}

/// A range that we have something for, and its weight in thousandths.
fn range(range: &str) -> Option<(Format, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
    let parameter = |name: &str| {
        parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    };
    let format = match &*media {
        "application/openmetrics-text" if parameter("version").is_none_or(|it| it == "1.0.0") => {
            Format::OpenMetrics
        }
        "application/vnd.google.protobuf"
            if parameter("encoding") == Some("delimited")
                && parameter("proto") == Some("io.prometheus.client.MetricFamily") =>
        {
            Format::Protobuf
        }
        "text/plain" if parameter("version").is_none_or(|it| it == "0.0.4") => Format::Text,
        "*/*" | "text/*" => Format::Text,
        _ => return None,
    };
    let weight = parameter("q").map_or(Some(1.0), |text| text.parse::<f64>().ok())?;
    ((0.0..=1.0).contains(&weight) && weight > 0.0).then_some((format, (weight * 1_000.0) as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_wanted_most() {
        let protobuf =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        for (accept, expected) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("application/json", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            // Prometheus 2.42, and with native histograms.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                &format!(
                    "{protobuf},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,\
                     */*;q=0.1"
                ),
                Format::Protobuf,
            ),
            (
                "Application/OpenMetrics-Text; Version=1.0.0; q=0.2, text/plain;version=0.0.4; Q=0.3",
                Format::Text,
            ),
            (&format!("{protobuf};q=0, text/plain"), Format::Text),
            (&format!("{protobuf};q=x"), Format::Text),
            (&format!("{protobuf};q=NaN, application/openmetrics-text;q=0.001"), Format::OpenMetrics),
            ("application/vnd.google.protobuf;encoding=text", Format::Text),
            (",;,=;q=,", Format::Text),
            (&format!("text/plain, {protobuf}, application/openmetrics-text"), Format::Protobuf),
        ] {
            assert_eq!(Format::asked(accept), expected, "{accept}");
        }
    }
}
