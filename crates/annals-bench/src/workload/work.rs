//! What two workloads have in common: the keys that decide the work, and a hash of them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Log, Workload};

impl Workload {
    /// A hash of the work: of all keys but those that name and describe the workload, its goals, and its phases, which decide how long it is
    /// measured; and of the events of its log. It depends neither on the order of keys in a file, nor on whether a default is written.
    pub fn work_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (key, value) in self.work() {
            hash_texts(&mut hasher, &[key.as_bytes(), value.as_bytes()]);
        }
        for event in self.log.iter().flat_map(|log| log.events.iter()) {
            let texts = [&event.stream, &event.event_type, &event.correlation].map(|text| text.as_bytes());
            hash_texts(&mut hasher, &texts);
            hash_texts(&mut hasher, &[&event.micros.to_le_bytes(), &event.data]);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The keys that decide the work, with dots, and their values. A weight of 0 is none.
    pub(crate) fn work(&self) -> BTreeMap<String, String> {
        let mut work = self.clone();
        work.goals.clear();
        work.mix.retain(|_, weight| *weight > 0.0);
        // Its events are the work, wherever their file is.
        work.log = work.log.map(|_| Log::default());
        let mut keys = BTreeMap::new();
        flatten("", &serde_json::to_value(&work).unwrap_or_default(), &mut keys);
        keys.retain(|key, _| key != "name" && key != "about" && !key.starts_with("phases."));
        keys
    }
}

/// Each text with its length before it, so that no two lists of texts are the same bytes.
fn hash_texts(hasher: &mut blake3::Hasher, texts: &[&[u8]]) {
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
}

fn flatten(prefix: &str, value: &Value, keys: &mut BTreeMap<String, String>) {
    if let Value::Object(fields) = value {
        for (name, field) in fields {
            let key = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            flatten(&key, field, keys);
        }
    } else {
        keys.insert(prefix.to_owned(), value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Logged;
    use super::*;

    fn hash(text: &str) -> String {
        Workload::parse(text).unwrap().work_hash()
    }

    #[test]
    fn the_same_work_had_another_hash() {
        let one = hash("name = \"one\"\n[load]\nworkers = 4\nrate = 5\n[mix]\nappend = 1");
        let other = "name = \"other\"\nabout = \"text\"\n[mix]\nload = 0\nappend = 1.0\n[load]\nrate = 5.0\nworkers = 4\nmode = \"saturate\"\n[phases]\nmeasure_ms = 9";
        assert_eq!(one, hash(other));
        // It may not change from version to version without need: results are kept.
        assert_eq!(&hash("name = \"x\"")[..16], "ce97bb4f10792c77");
    }

    #[test]
    fn other_work_had_the_same_hash() {
        let mut hashes: Vec<String> = [
            "",
            "[data]\nbatch = 2",
            "[mix]\nload = 1",
            "[skew]\nkind = \"zipf\"\ntheta = 0.5",
            "[read]\ncache = false",
        ]
        .map(|keys| hash(&format!("name = \"x\"\n{keys}")))
        .to_vec();
        let log = |path: &str, data: &str| {
            let event = Logged {
                stream: "s".to_owned(),
                event_type: "t".to_owned(),
                correlation: String::new(),
                micros: 1,
                data: data.as_bytes().to_vec(),
            };
            let events = Arc::new(vec![event]);
            let path = path.to_owned();
            Workload::import(Log { path, events }).unwrap().work_hash()
        };
        assert_eq!(log("a", "{}"), log("b", "{}"));
        hashes.extend([log("a", "{}"), log("a", "[]")]);
        let all = hashes.len();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), all);
    }
}
