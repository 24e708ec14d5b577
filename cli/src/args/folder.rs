//! Folders of stores as arguments: paths, and URLs of stores in files.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

/// Parses a path, or `file:` before one.
pub(crate) fn parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(folder)
}

fn folder(path: PathBuf) -> Result<PathBuf, String> {
    let Some(within) = path.to_str().and_then(|text| text.strip_prefix("file:")) else {
        return Ok(path);
    };
    if within.contains('?') {
        return Err("a folder is named here, which takes no options".to_owned());
    }
    let within = within.strip_prefix("//").unwrap_or(within);
    if within.is_empty() {
        return Err("name the folder behind 'file:'".to_owned());
    }
    Ok(within.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_store_became_the_name_of_a_folder() {
        for text in ["st", "file:st", "file://st"] {
            assert_eq!(folder(text.into()), Ok("st".into()), "{text}");
        }
        assert_eq!(folder("file:///tmp/st".into()), Ok("/tmp/st".into()));
        assert_eq!(folder("profile:st".into()), Ok("profile:st".into()));
        for text in ["file:", "file:st?durability=synced"] {
            assert!(folder(text.into()).is_err(), "{text}");
        }
    }
}
