//! The web pages: one document for every address below `/ui/`, and the files that it loads. They hold no data; what they show they ask the API for.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, LOCATION, REFERRER_POLICY};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::gate::Routes;
use super::typed;
use crate::problem::{Kind, Problem};

/// Scripts, styles and data from this server alone; none within a page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const STYLE: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const ICON: HeaderValue = HeaderValue::from_static("image/svg+xml");

const INDEX: &str = include_str!("../../web/index.html");

macro_rules! files {
    ($($name:literal => $media:ident),* $(,)?) => {
        [$(File { name: $name, media: $media, text: include_str!(concat!("../../web/", $name)) }),*]
    };
}

/// A file that a page loads.
struct File {
    name: &'static str,
    media: HeaderValue,
    text: &'static str,
}

static FILES: [File; 25] = files![
    "actions.js" => SCRIPT,
    "api.js" => SCRIPT,
    "app.js" => SCRIPT,
    "dom.js" => SCRIPT,
    "icon.svg" => ICON,
    "links.js" => SCRIPT,
    "style.css" => STYLE,
    "views/dead_letters.js" => SCRIPT,
    "views/event.js" => SCRIPT,
    "views/events.js" => SCRIPT,
    "views/groups.js" => SCRIPT,
    "views/home.js" => SCRIPT,
    "views/hours.js" => SCRIPT,
    "views/lanes.js" => SCRIPT,
    "views/letters.js" => SCRIPT,
    "views/processors.js" => SCRIPT,
    "views/rows.js" => SCRIPT,
    "views/sagas.js" => SCRIPT,
    "views/state.js" => SCRIPT,
    "views/statistics.js" => SCRIPT,
    "views/storage.js" => SCRIPT,
    "views/stream.js" => SCRIPT,
    "views/streams.js" => SCRIPT,
    "views/test.js" => SCRIPT,
    "views/trace.js" => SCRIPT,
];

pub(super) fn routes() -> Routes {
    vec![
        ("/ui", get(async || lead())),
        ("/ui/", get(page)),
        ("/ui/{*view}", get(page)),
        ("/ui/assets/{*name}", get(file)),
    ]
}

/// Leads a browser to the pages.
pub(super) fn lead() -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, HeaderValue::from_static("/ui/"))]).into_response()
}

async fn page(headers: HeaderMap) -> Response {
    static_file(&headers, &HTML, INDEX)
}

async fn file(uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let name = uri.path().trim_start_matches("/ui/assets/");
    let file = FILES.iter().find(|file| file.name == name);
    let missing = || Problem::new(Kind::NotFound, format!("there is no file '{name}'"));
    let file = file.ok_or_else(missing)?;
    Ok(static_file(&headers, &file.media, file.text))
}

/// The file, or 304 if the client has it. A browser asks each time: the files are those of the running server.
fn static_file(headers: &HeaderMap, media: &HeaderValue, text: &'static str) -> Response {
    let tag = format!("\"{}-{:08x}\"", env!("CARGO_PKG_VERSION"), checksum(text));
    let is_known = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        typed(StatusCode::OK, media.clone(), text)
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// Tells versions of a file apart (FNV-1a, <http://www.isthe.com/chongo/tech/comp/fnv/>).
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
