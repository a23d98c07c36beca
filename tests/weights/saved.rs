//! A file that was saved, and ways to break it.

use crate::*;

/// A file of `save`'s and ways to break it.
pub struct Saved {
    pub folder: TempDir,
    pub header: Value,
    pub data: Vec<u8>,
}

pub const BIAS: &str = "roi_heads.box_head.fc7.bias";

impl Saved {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole.safetensors");
        weights::save(&tiny(false).init(&Device::flex()), &path).unwrap();
        let bytes = fs::read(path).unwrap();
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = serde_json::from_slice(&bytes[8..end]).unwrap();
        Self { folder, header, data: bytes[end..].to_vec() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, header: &Value, data: &[u8]) -> PathBuf {
        let (path, header) = (self.path("broken.safetensors"), header.to_string());
        fs::write(&path, [&header.len().to_le_bytes(), header.as_bytes(), data].concat()).unwrap();
        path
    }

    /// The file after a change of its header.
    pub fn edited(&self, edit: impl FnOnce(&mut Value)) -> PathBuf {
        let mut header = self.header.clone();
        edit(&mut header);
        self.write(&header, &self.data)
    }

    pub fn renamed(&self, from: &str, to: &str) -> PathBuf {
        self.edited(|header| {
            let header = header.as_object_mut().unwrap();
            let entry = header.remove(from).unwrap();
            header.insert(to.to_string(), entry);
        })
    }
}
