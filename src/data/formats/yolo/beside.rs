//! Where the files that belong to an image are.

/// The path of an image with its last folder `images` replaced; the path itself where there is none. Parts of
/// the path have `/` between them.
pub(super) fn beside(image: &str, folder: &str) -> String {
    let parts: Vec<&str> = image.split('/').collect();
    let folders = &parts[..parts.len() - 1];
    let Some(last) = folders.iter().rposition(|part| *part == "images") else { return image.to_string() };
    let replaced = parts.iter().enumerate().map(|(index, part)| if index == last { folder } else { part });
    replaced.collect::<Vec<_>>().join("/")
}
