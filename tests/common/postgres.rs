//! A PostgreSQL server for a test.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// `nobody`: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// A server with a database of its own, gone at the end of the test.
pub struct Postgres {
    folder: TempDir,
    port: u16,
    server: Option<Child>,
}

impl Postgres {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut postgres = Self { folder, port, server: None };
        if postgres.is_root() {
            chown(postgres.folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = postgres.folder.path().join("data");
        let output = postgres
            .command("initdb")
            .args(["--auth=trust", "--username=boards", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        postgres.restart();
        postgres
    }

    pub fn url(&self) -> String {
        format!("postgres://boards@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends all connections at once, as a lost machine would.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("it runs");
        let pid = server.id().to_string();
        // The server's children end with it on this signal only.
        assert!(Command::new("kill").args(["-QUIT", &pid]).status().unwrap().success());
        server.wait().unwrap();
    }

    pub fn restart(&mut self) {
        let folder = self.folder.path();
        let server = self
            .command("postgres")
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .arg("-k")
            .arg(folder)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.server = Some(server);
        let started = Instant::now();
        while !self
            .command("pg_isready")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .output()
            .unwrap()
            .status
            .success()
        {
            assert!(started.elapsed() < Duration::from_secs(60), "the server does not start");
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn is_root(&self) -> bool {
        // A new folder belongs to who made it.
        let probe = tempfile::tempdir().unwrap();
        fs::metadata(probe.path()).unwrap().uid() == 0
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(binary(program));
        command.current_dir(self.folder.path());
        if self.is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.kill();
        }
    }
}

/// Debian keeps the programs of each version in a folder that is not in the path.
fn binary(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin").join(program))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| Path::new(program).to_path_buf())
}
