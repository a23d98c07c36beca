//! MLflow's server, for the time of a test.

use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server with an empty store. It ends when this value is dropped.
pub struct Server {
    child: Child,
    url: String,
    folder: TempDir,
}

/// Python in the virtual environment that `tests/run` makes.
pub fn python() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
    let python = cache.join("faster-rcnn/tracking/bin/python");
    if !python.exists() {
        println!("skipped: {} is missing; tests/run makes it", python.display());
        return None;
    }
    Some(python)
}

impl Server {
    pub fn start() -> Option<Self> {
        let python = python()?;
        let folder = tempfile::tempdir().unwrap();
        // The system has just given out this port, so it is hardly taken by another program before the server
        // starts.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new(python)
            .args(["-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1", "--port"])
            .arg(port.to_string())
            .args(["--backend-store-uri", &format!("sqlite:///{}", folder.path().join("db").display())])
            .args(["--artifacts-destination", folder.path().join("files").to_str().unwrap()])
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .current_dir(&folder)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            // Its workers are in one group with it, which is killed as a whole.
            .process_group(0)
            .spawn()
            .unwrap();
        let server = Self { child, url: format!("http://127.0.0.1:{port}"), folder };
        let until = Instant::now() + Duration::from_secs(300);
        while !is_healthy(port) {
            let log = || fs::read_to_string(server.folder.path().join("log")).unwrap();
            assert!(Instant::now() < until, "MLflow's server does not start: {}", log());
            thread::sleep(Duration::from_millis(200));
        }
        Some(server)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Flips a bit in all stored files with the SHA-256, and gives their number.
    pub fn damage(&self, sha256: &str) -> usize {
        damage(&self.folder.path().join("files"), sha256)
    }
}

fn damage(folder: &Path, sha256: &str) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += damage(&path, sha256);
        } else if super::sha256(path.clone()) == sha256 {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
            count += 1;
        }
    }
    count
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(" 200 "))
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: the child has not been waited for, so its number, which is that of the group, is its own.
        unsafe { libc::kill(-(self.child.id() as i32), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}
