//! What a client sends to be looked at: an image as the body, or a form with several and what belongs to
//! them.

use axum::body::{Body, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};

use super::limits::{Held, Limits, Memory, read_body};
use super::refusal::Refusal;
use crate::records::Fields;

/// The most bytes of a field such as `line`.
const LONGEST_FIELD: usize = 200;

/// The most characters of a file's name that are kept.
const LONGEST_NAME: usize = 255;

/// Images with what belongs to them.
#[derive(Debug)]
pub struct Upload {
    pub images: Vec<File>,
    /// For all of the images.
    pub reference: Option<File>,
    pub fields: Fields,
    /// The memory of the files.
    pub held: Held,
}

/// A file that a client sent.
#[derive(Debug, Clone)]
pub struct File {
    /// What the client calls it. It is shown, and names no file here.
    pub name: Option<String>,
    pub bytes: Bytes,
}

/// What the body of a request is.
enum Form {
    Image,
    Multipart,
}

/// Reads a request for a detection.
///
/// # Errors
///
/// 400 for a form that is malformed, 415 for another media type, and those of [`read_body`].
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
    memory: &Memory,
) -> Result<Upload, Refusal> {
    let form = form(headers)?;
    let (bytes, held) = read_body(headers, body, limits.upload_bytes, limits, memory).await?;
    let bytes = Bytes::from(bytes);
    match form {
        Form::Image => {
            let images = vec![File { name: None, bytes }];
            Ok(Upload { images, reference: None, fields: Fields::default(), held })
        }
        Form::Multipart => parts(headers, bytes, held).await,
    }
}

fn form(headers: &HeaderMap) -> Result<Form, Refusal> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(Form::Image) };
    let media_type = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    if media_type == "multipart/form-data" {
        return Ok(Form::Multipart);
    }
    if media_type.starts_with("image/") || media_type == "application/octet-stream" {
        return Ok(Form::Image);
    }
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "send an image with an `image/` type or application/octet-stream, or a form as multipart/form-data",
    ))
}

async fn parts(headers: &HeaderMap, bytes: Bytes, held: Held) -> Result<Upload, Refusal> {
    let mut request = Request::new(Body::from(bytes));
    request.headers_mut().extend(headers.get(CONTENT_TYPE).map(|value| (CONTENT_TYPE, value.clone())));
    // The length of the body is limited already.
    request.extensions_mut().clear();
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|_| Refusal::bad_request("the form has no boundary in its content type"))?;
    let (mut images, mut reference, mut fields) = (Vec::new(), None, Fields::default());
    while let Some(field) = parts.next_field().await.map_err(|error| malformed(&error))? {
        let name = field.name().unwrap_or_default().to_string();
        let once = || Refusal::bad_request(format!("the form has the field `{name}` more than once"));
        let text = match name.as_str() {
            "image" => {
                images.push(file(field).await?);
                continue;
            }
            "reference" => {
                if reference.replace(file(field).await?).is_some() {
                    return Err(once());
                }
                continue;
            }
            "line" => &mut fields.line,
            "product" => &mut fields.product,
            "board" => &mut fields.board,
            _ => {
                let message =
                    "a form has the fields image, reference, line, product and board, and no others";
                return Err(Refusal::bad_request(message));
            }
        };
        if text.replace(short_text(&name, &bytes_of(field).await?)?).is_some() {
            return Err(once());
        }
    }
    if images.is_empty() {
        return Err(Refusal::bad_request("the form has no field `image`"));
    }
    let empty = |text: &mut Option<String>| *text = text.take().filter(|text| !text.is_empty());
    [&mut fields.line, &mut fields.product, &mut fields.board].into_iter().for_each(empty);
    Ok(Upload { images, reference, fields, held })
}

async fn file(field: Field<'_>) -> Result<File, Refusal> {
    let name = field.file_name().map(file_name).filter(|name| !name.is_empty());
    Ok(File { name, bytes: bytes_of(field).await? })
}

async fn bytes_of(field: Field<'_>) -> Result<Bytes, Refusal> {
    field.bytes().await.map_err(|error| malformed(&error))
}

fn malformed(error: &MultipartError) -> Refusal {
    tracing::debug!("a malformed form: {error}");
    Refusal::bad_request("the form is malformed or cut off")
}

/// The name without folders and without characters that would be no text.
fn file_name(given: &str) -> String {
    let name = given.rsplit(['/', '\\']).next().unwrap_or_default();
    name.chars().filter(|character| !character.is_control()).take(LONGEST_NAME).collect()
}

/// A text of a client's that goes into the records.
///
/// # Errors
///
/// 400 where it is no UTF-8, is too long, or has control characters.
pub fn short_text(name: &str, bytes: &[u8]) -> Result<String, Refusal> {
    let refuse = |what: &str| Err(Refusal::bad_request(format!("the field `{name}` {what}")));
    let Ok(text) = std::str::from_utf8(bytes) else { return refuse("is no UTF-8") };
    let text = text.trim();
    if text.len() > LONGEST_FIELD {
        return refuse(&format!("has more than {LONGEST_FIELD} bytes"));
    }
    if text.chars().any(char::is_control) {
        return refuse("has control characters");
    }
    Ok(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn form_of(body: &str) -> Result<Upload, Refusal> {
        let headers: HeaderMap =
            [(CONTENT_TYPE, "multipart/form-data; boundary=XX".parse().unwrap())].into_iter().collect();
        let body = Body::from(body.replace('\n', "\r\n"));
        read(&headers, body, &Limits::default(), &Memory::new(1 << 20)).await
    }

    fn part(name: &str, file: &str, content: &str) -> String {
        let file = if file.is_empty() { String::new() } else { format!("; filename=\"{file}\"") };
        format!("--XX\nContent-Disposition: form-data; name=\"{name}\"{file}\n\n{content}\n")
    }

    #[tokio::test]
    async fn a_form_is_taken_apart() {
        let body = part("line", "", " A&<b> ")
            + &part("image", "../../etc/a.png", "1")
            + &part("image", "", "22")
            + &part("reference", "C:\\b.png", "333")
            + &part("board", "", "")
            + "--XX--\n";
        let upload = form_of(&body).await.unwrap();
        let of = |file: &File| (file.name.clone(), file.bytes.len());
        assert_eq!(
            upload.images.iter().map(of).collect::<Vec<_>>(),
            [(Some("a.png".to_string()), 1), (None, 2)]
        );
        assert_eq!(of(&upload.reference.unwrap()), (Some("b.png".to_string()), 3));
        let line = Some("A&<b>".to_string());
        assert_eq!(upload.fields, Fields { line, product: None, board: None });
    }

    #[tokio::test]
    async fn a_malformed_form_is_refused() {
        let image = part("image", "a.png", "1");
        let end = "--XX--\n";
        for body in [
            String::new(),
            end.to_string(),
            image.clone(),
            part("line", "", "a") + end,
            image.clone() + &part("line", "", "a") + &part("line", "", "b") + end,
            image.clone() + &part("reference", "", "a") + &part("reference", "", "b") + end,
            image.clone() + &part("other", "", "a") + end,
            image.clone() + &part("line", "", "a\u{0}b") + end,
            image.clone() + &part("line", "", &"a".repeat(201)) + end,
        ] {
            let refusal = form_of(&body).await.unwrap_err();
            assert_eq!(refusal.status(), StatusCode::BAD_REQUEST, "{body}");
        }
    }
}
