//! The file as it is written.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::secret::Secret;
use crate::RelayError;

/// Bytes of the file, at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) relay: Vec<Settings>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) name: String,
    #[serde(default)]
    pub(super) aggregate_types: Vec<String>,
    #[serde(default)]
    pub(super) event_types: Vec<String>,
    #[serde(default)]
    pub(super) envelope: EnvelopeName,
    pub(super) source: Option<String>,
    #[serde(default)]
    pub(super) start: Start,
    #[serde(default)]
    pub(super) skip_gaps: bool,
    pub(super) max_in_flight: Option<usize>,
    pub(super) attempts: Option<u32>,
    pub(super) first_pause_ms: Option<u64>,
    pub(super) longest_pause_ms: Option<u64>,
    pub(super) webhook: Option<WebhookSettings>,
    pub(super) redis: Option<RedisSettings>,
    pub(super) nats: Option<NatsSettings>,
    pub(super) rabbitmq: Option<RabbitMqSettings>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum EnvelopeName {
    #[default]
    Json,
    Cloudevents,
    CloudeventsStructured,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Start {
    #[default]
    Beginning,
    End,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookSettings {
    pub(super) url: Secret,
    pub(super) secret: Option<Secret>,
    pub(super) old_secret: Option<Secret>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Secret>,
    pub(super) requests: Option<usize>,
    pub(super) deadline_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedisSettings {
    pub(super) url: Secret,
    pub(super) key: Option<String>,
    #[serde(default)]
    pub(super) stream_per_type: bool,
    pub(super) max_entries: Option<u64>,
    pub(super) deadline_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NatsSettings {
    pub(super) url: Secret,
    pub(super) stream: String,
    pub(super) prefix: Option<String>,
    #[serde(default)]
    pub(super) create: bool,
    pub(super) deadline_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RabbitMqSettings {
    pub(super) url: Secret,
    pub(super) exchange: Option<String>,
    #[serde(default)]
    pub(super) exchanges: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) queue: Vec<QueueSettings>,
    pub(super) message_bytes_max: Option<usize>,
    pub(super) deadline_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueSettings {
    pub(super) name: String,
    #[serde(default)]
    pub(super) bindings: Vec<BindingSettings>,
    #[serde(default)]
    pub(super) quorum: bool,
    pub(super) dead_letters: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BindingSettings {
    pub(super) exchange: String,
    pub(super) key: String,
}

/// Reads a file.
///
/// # Errors
///
/// [`RelayError::Invalid`] with the line, without its text, which may have a secret.
pub(super) fn read(path: &Path) -> Result<File, RelayError> {
    let failed = |why: String| RelayError::invalid(format!("cannot read {}: {why}", path.display()));
    let mut text = String::new();
    let opened = fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    if opened.map_err(|error| failed(error.to_string()))? as u64 > FILE_BYTES_MAX {
        return Err(failed(format!(
            "it has more than {FILE_BYTES_MAX} bytes; name a file of settings"
        )));
    }
    parse(&text).map_err(|(line, why)| failed(format!("line {line}: {why}")))
}

fn parse(text: &str) -> Result<File, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.as_bytes().iter().take(start);
        (
            before.filter(|byte| **byte == b'\n').count() + 1,
            without_values(error.message()),
        )
    })
}

/// A message about a value of the wrong type quotes it.
fn without_values(message: &str) -> String {
    let quotes = ["invalid type", "invalid value", "invalid length", "unknown variant"];
    let kind = quotes.iter().find(|kind| message.starts_with(**kind));
    match (kind, message.rsplit_once(", expected ")) {
        (Some(kind), Some((_, expected))) => format!("{kind}, expected {expected}"),
        (Some(kind), None) => (*kind).to_owned(),
        (None, _) => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_had_the_text_of_a_line() {
        let text = "[[relay]]\nname = \"a\"\n[relay.webhook]\nurl = \"https://host\"\nsecrets = \"hidden-secret\"\n";
        let (line, why) = parse(text).unwrap_err();
        assert!(
            line == 5 && why.contains("unknown field `secrets`") && !why.contains("hidden"),
            "{line} {why}"
        );
        let (line, why) = parse("[[relay]]\nname = hidden-secret\n").unwrap_err();
        assert!(line == 2 && !why.contains("hidden"), "{line} {why}");
        let (_, why) = parse("[[relay]]\nname = \"a\"\n[relay.redis]\nurl = [\"hidden-secret\"]\n").unwrap_err();
        assert!(!why.contains("hidden"), "{why}");
        for setting in [
            "redis = \"redis://:hidden@host\"",
            "webhook = { url = \"https://host\", headers = \"Bearer hidden\" }",
            "envelope = \"hidden\"",
            "attempts = \"hidden, expected hidden\"",
        ] {
            let (line, why) = parse(&format!("[[relay]]\nname = \"a\"\n{setting}\n")).unwrap_err();
            assert!(line == 3 && why.contains(", expected "), "{line} {why}");
            assert!(!why.contains("hidden"), "{why}");
        }
    }
}
