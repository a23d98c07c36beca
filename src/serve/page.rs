//! The page, and the page that shows the OpenAPI: files that are part of the program. What a client asks for
//! is looked up in a table, so no path of a client's reaches the file system.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::refusal::{Refusal, no_such_path};

/// A file that is part of the program.
struct File {
    name: &'static str,
    content: &'static [u8],
}

macro_rules! files {
    ($($name:literal),+ $(,)?) => { [$(File { name: $name, content: include_bytes!($name) }),+] };
}

/// Those in `page/` have the URL `/page/NAME`, those in `docs/` `/docs/NAME`.
static FILES: [File; 36] = files![
    "page/api.js",
    "page/board.js",
    "page/boards.js",
    "page/charts.js",
    "page/detecting.js",
    "page/dom.js",
    "page/download.js",
    "page/filter_form.js",
    "page/format.js",
    "page/history.css",
    "page/history.js",
    "page/icon.svg",
    "page/index.html",
    "page/inspect.css",
    "page/inspect.js",
    "page/inspect_keys.js",
    "page/intake.js",
    "page/keys.js",
    "page/main.js",
    "page/memory.js",
    "page/missed.js",
    "page/notices.js",
    "page/overview.css",
    "page/overview.js",
    "page/paint.js",
    "page/panel.js",
    "page/pictures.js",
    "page/scene.js",
    "page/sign_in.js",
    "page/strip.js",
    "page/style.css",
    "page/verdicts.js",
    "page/viewport.js",
    "docs/index.html",
    "docs/docs.css",
    "docs/docs.js"
];

/// `GET /`
pub async fn index(headers: HeaderMap) -> Response {
    answer("page/index.html", &headers).await
}

/// `GET /page/{name}`
pub async fn page(name: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    match name {
        Ok(Path(name)) => answer(&format!("page/{name}"), &headers).await,
        Err(_) => no_such_path().await.into_response(),
    }
}

/// `GET /docs`
pub async fn docs_index(headers: HeaderMap) -> Response {
    answer("docs/index.html", &headers).await
}

/// `GET /docs/{name}`
pub async fn docs(name: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    match name {
        Ok(Path(name)) => answer(&format!("docs/{name}"), &headers).await,
        Err(_) => no_such_path().await.into_response(),
    }
}

async fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return no_such_path().await.into_response();
    };
    let Some(media_type) = media_type(file.name) else {
        return Refusal::internal("the file has no media type", file.name).into_response();
    };
    // The program may be a newer one after each start, so browsers ask each time.
    let digest = Sha256::digest(file.content);
    let tag = format!("\"{}\"", digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>());
    let caching = [(CACHE_CONTROL, "no-cache".to_string()), (ETAG, tag.clone())];
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(CONTENT_TYPE, media_type)], file.content).into_response()
}

fn media_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_media_type() {
        for file in &FILES {
            assert!(media_type(file.name).is_some(), "{}", file.name);
        }
    }

    #[test]
    fn every_file_of_the_folders_is_served() {
        for folder in ["page", "docs"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve").join(folder);
            for entry in std::fs::read_dir(path).unwrap() {
                let name = format!("{folder}/{}", entry.unwrap().file_name().display());
                assert!(FILES.iter().any(|file| file.name == name), "{name}");
            }
        }
    }
}
