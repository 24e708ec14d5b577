//! Changing single keys of a workload: `--set load.rate=5000`, and variants.

use std::collections::BTreeMap;
use std::str::FromStr;

use toml::{Table, Value};

use super::{Variant, Workload, WorkloadError, check};

/// The most bytes of a workload file.
const BYTES_MAX: usize = 1 << 20;

/// A key with dots, and its new value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    key: String,
    value: Value,
}

impl FromStr for Setting {
    type Err = WorkloadError;

    /// Reads `key=value`: the value is one of TOML, or a text.
    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            WorkloadError(format!(
                "'{text}' is no setting: write key=value, such as load.rate=5000"
            ))
        })?;
        let parsed = format!("value = {value}").parse::<Table>().ok();
        let parsed = parsed.and_then(|mut table| table.remove("value"));
        Ok(Self {
            key: key.trim().to_owned(),
            value: parsed.unwrap_or_else(|| Value::String(value.to_owned())),
        })
    }
}

/// Parses the workload of a file, and replaces its settings by `settings`.
///
/// # Errors
///
/// The error names the key that is unknown, missing or out of bounds.
pub fn with_settings(text: &str, settings: &[Setting]) -> Result<Workload, WorkloadError> {
    if text.len() > BYTES_MAX {
        return Err(WorkloadError(format!("a workload has at most {BYTES_MAX} bytes")));
    }
    let table: Table = text.parse().map_err(|error| of_toml(&error))?;
    finish(table, settings)
}

/// The workload with the keys of `variant`, and its name after a slash.
pub(super) fn apply(workload: &Workload, variant: &Variant) -> Result<Workload, WorkloadError> {
    let table = Table::try_from(workload).map_err(|error| WorkloadError(error.to_string()))?;
    let settings: Vec<Setting> = variant
        .set
        .iter()
        .map(|(key, value)| Setting {
            key: key.clone(),
            value: value.clone(),
        })
        .collect();
    let mut row = finish(table, &settings)?;
    row.name = format!("{}/{}", workload.name, variant.name);
    row.variants.clear();
    Ok(row)
}

fn finish(mut table: Table, settings: &[Setting]) -> Result<Workload, WorkloadError> {
    for setting in settings {
        insert(&mut table, setting)?;
    }
    let mut workload: Workload = Value::Table(table).try_into().map_err(|error| of_toml(&error))?;
    hold_for_variants(&mut workload.variants, settings);
    check::check(&workload)?;
    Ok(workload)
}

/// A key that is set on the command line holds for all variants. Of those that differ no more, the first is left; one alone that differs
/// from nothing is the workload itself.
fn hold_for_variants(variants: &mut Vec<Variant>, settings: &[Setting]) {
    let is_set = |key: &String| settings.iter().any(|setting| setting.key == *key);
    for variant in &mut *variants {
        variant.set.retain(|key, _| !is_set(key));
    }
    let mut seen: Vec<BTreeMap<String, Value>> = Vec::new();
    variants.retain(|variant| {
        let is_new = !seen.contains(&variant.set);
        seen.push(variant.set.clone());
        is_new
    });
    if seen.iter().all(BTreeMap::is_empty) {
        variants.clear();
    }
}

fn insert(table: &mut Table, setting: &Setting) -> Result<(), WorkloadError> {
    let (path, last) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
    let mut table = table;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let inner = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
        table = inner
            .as_table_mut()
            .ok_or_else(|| WorkloadError(format!("'{}': {part} has no keys of its own", setting.key)))?;
    }
    table.insert(last.to_owned(), setting.value.clone());
    Ok(())
}

/// One line: the position in the file and the reason.
fn of_toml(error: &toml::de::Error) -> WorkloadError {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let place = lines.first().copied().unwrap_or_default();
    let reason = lines.last().copied().unwrap_or_default();
    WorkloadError(if place == reason {
        reason.to_owned()
    } else {
        format!("{place}: {reason}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"small\"\n[mix]\nappend = 1.0";

    fn set(texts: &[&str]) -> Result<Workload, WorkloadError> {
        let settings: Vec<Setting> = texts.iter().map(|text| text.parse().unwrap()).collect();
        with_settings(SMALL, &settings)
    }

    #[test]
    fn a_setting_replaces_a_key() {
        let workload = set(&[
            "load.rate=250",
            "load.mode=open",
            "skew.kind=zipf",
            "skew.theta=0.8",
            "mix.load=2",
        ])
        .unwrap();
        assert!((workload.load.rate - 250.0).abs() < f64::EPSILON);
        assert_eq!(workload.load.mode, super::super::Mode::Open);
        assert_eq!(workload.skew, super::super::Skew::Zipf { theta: 0.8 });
        assert_eq!(workload.mix.len(), 2);
    }

    #[test]
    fn a_misspelled_key_was_ignored() {
        for wrong in [
            "load.rat=1",
            "phase.measure_ms=1",
            "mix.apend=1",
            "load.mode=opened",
            "name.x=1",
        ] {
            let error = set(&[wrong]).unwrap_err().to_string();
            assert!(!error.is_empty() && !error.contains('\n'), "{error}");
        }
        assert!("rate".parse::<Setting>().is_err());
    }

    #[test]
    fn a_variant_is_a_row_with_its_name() {
        let text =
            format!("{SMALL}\n[[variants]]\nname = \"fast\"\nset = {{ \"load.mode\" = \"open\", \"load.rate\" = 9 }}");
        let rows = Workload::parse(&text).unwrap().rows().unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].name, "small/fast");
        assert!((rows[0].load.rate - 9.0).abs() < f64::EPSILON);
        let fixed = with_settings(&text, &["load.rate=7".parse().unwrap()]).unwrap();
        assert!((fixed.rows().unwrap()[0].load.rate - 7.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_closed_loop_was_measured_twice_under_another_name() {
        let quick = super::super::built_in("quick").unwrap();
        let names = |settings: &[&str]| {
            let settings: Vec<Setting> = settings.iter().map(|text| text.parse().unwrap()).collect();
            let rows = with_settings(quick, &settings).unwrap().rows().unwrap();
            rows.into_iter().map(|row| row.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["quick/saturate", "quick/open"]);
        assert_eq!(names(&["load.mode=open", "load.rate=9"]), ["quick"]);
    }
}
