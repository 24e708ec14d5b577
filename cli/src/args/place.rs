//! Where the store is, if `--store` alone does not say it: the environment, and a namespace of a server.

use crate::load::Location;

/// The environment variable that names the store where `--store` does not.
const STORE_VARIABLE: &str = "ANNALS_STORE";

/// The store that the environment names; an empty name is none.
pub(super) fn store_of_environment() -> Result<Option<Location>, String> {
    let named = std::env::var_os(STORE_VARIABLE).filter(|name| !name.is_empty());
    let Some(name) = named else {
        return Ok(None);
    };
    // A replacement character would name another folder.
    let name = name.to_str().ok_or_else(|| {
        format!(
            "{STORE_VARIABLE} is not valid UTF-8: {}; set it to a URL in UTF-8",
            name.display()
        )
    })?;
    let store = name.parse::<Location>();
    store
        .map(Some)
        .map_err(|reason| format!("invalid value '{name}' of {STORE_VARIABLE}: {reason}"))
}

/// The namespace `name` of the server that `store` names.
pub(super) fn in_namespace(store: Option<&Location>, name: &str) -> Result<Location, String> {
    match store {
        Some(Location::Server(url)) if url.contains("/v1/ns/") => Err(format!(
            "{url} has a namespace already: leave --namespace out, or the namespace of the URL"
        )),
        Some(Location::Server(url)) => format!("{}/v1/ns/{name}", url.trim_end_matches('/')).parse(),
        _ => Err(
            "only a server has namespaces: name one with --store http://HOST:PORT, or leave --namespace out".to_owned(),
        ),
    }
}
