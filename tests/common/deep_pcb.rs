//! Where the real images of DeepPCB are.

use std::env;
use std::path::PathBuf;

/// The folder that `DEEPPCB_DIR` names, or none with a message.
pub fn folder() -> Option<PathBuf> {
    let folder = env::var_os("DEEPPCB_DIR").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: DEEPPCB_DIR is not set");
    }
    folder
}
