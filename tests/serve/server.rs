//! A running server in a folder of its own, and a client of plain HTTP for it.

use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use faster_rcnn::image::{ImageFormat, RgbImage};
use serde_json::Value;

use crate::program::{Bench, text};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How many servers of tests run, and whether a test has the machine for itself.
static MACHINE: Mutex<Machine> = Mutex::new(Machine { servers: 0, is_taken: false });
static MACHINE_CHANGES: Condvar = Condvar::new();

struct Machine {
    servers: usize,
    is_taken: bool,
}

impl Machine {
    fn when(condition: impl Fn(&Self) -> bool) -> MutexGuard<'static, Self> {
        MACHINE_CHANGES.wait_while(MACHINE.lock().unwrap(), |machine| !condition(machine)).unwrap()
    }

    fn change(change: impl FnOnce(&mut Self)) {
        change(&mut MACHINE.lock().unwrap());
        MACHINE_CHANGES.notify_all();
    }
}

/// One of the servers of tests.
struct Counted;

impl Counted {
    fn enter() -> Self {
        Machine::when(|machine| !machine.is_taken).servers += 1;
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        Machine::change(|machine| machine.servers -= 1);
    }
}

/// While this is there, other tests start no servers. For tests that measure.
pub struct Alone;

impl Alone {
    /// Waits until the servers of all other tests have ended.
    pub fn wait() -> Self {
        Machine::when(|machine| machine.servers == 0 && !machine.is_taken).is_taken = true;
        Self
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        Machine::change(|machine| machine.is_taken = false);
    }
}

/// A server that is killed when this is dropped.
pub struct Server {
    child: Child,
    #[allow(dead_code, reason = "counted until it is dropped")]
    counted: Option<Counted>,
    /// `127.0.0.1:PORT`
    pub address: String,
    log: PathBuf,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The sentence of an error with this status.
    pub fn sentence(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let json = self.json();
        let sentence = json["error"].as_str().unwrap_or_else(|| panic!("{json}")).to_string();
        assert!(sentence.ends_with('.') && sentence.len() > 10, "{sentence}");
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        sentence
    }

    /// The JSON of an answer with status 200.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

/// The arguments of a server whose records are in the bench's folder `data`.
pub fn arguments(more: &str) -> String {
    let data = if more.contains("--data ") { "" } else { "--data data" };
    format!("serve --weights tiny.safetensors --listen 127.0.0.1:0 {data} --registry models {more}")
}

impl Server {
    /// Starts the server with the bench's tiny detector, and waits until it answers.
    pub fn start(bench: &Bench, more: &str) -> Self {
        Self::start_as(bench, &mut bench.command(&arguments(more)))
    }

    /// Starts a server by a command of one's own.
    pub fn start_as(bench: &Bench, command: &mut Command) -> Self {
        Self::spawn(bench, command, Some(Counted::enter()))
    }

    /// Starts a server beside which no other runs.
    pub fn start_alone(bench: &Bench, command: &mut Command, _: &Alone) -> Self {
        Self::spawn(bench, command, None)
    }

    fn spawn(bench: &Bench, command: &mut Command, counted: Option<Counted>) -> Self {
        let log = bench.path("server.log");
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").map(str::to_string);
        let address = address.unwrap_or_else(|| panic!("{line}: {}", fs::read_to_string(&log).unwrap()));
        Self { child, counted, address, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said on standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Ends at once, as by `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to end.
    pub fn terminate(&self) {
        let killed = Command::new("kill").arg(self.pid().to_string()).status().unwrap();
        assert!(killed.success());
    }

    /// Waits until it has ended, with success.
    pub fn wait(mut self) {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => {
                    assert!(start.elapsed() < PATIENCE, "the server does not end");
                    thread::sleep(Duration::from_millis(20));
                }
            }
        };
        assert!(status.success(), "{status}: {}", self.log());
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A request with a body, each header as `Name: value`.
    pub fn request(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        try_request(&self.address, method, path, headers, body).unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, media_type: &str, body: &[u8]) -> Answer {
        self.request("POST", path, &[&format!("Content-Type: {media_type}")], body)
    }

    /// Detects in an image.
    pub fn detect(&self, image: &[u8]) -> Answer {
        self.post("/v1/detect", "application/octet-stream", image)
    }

    pub fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post(path, "application/json", body.to_string().as_bytes())
    }

    /// How many inspections are stored: all pages are counted.
    pub fn stored(&self) -> usize {
        self.inspections().len()
    }

    /// All that is stored, the newest first.
    pub fn inspections(&self) -> Vec<Value> {
        let mut items = Vec::new();
        let mut before = String::new();
        loop {
            let page = self.get(&format!("/v1/detections?limit=200{before}")).ok();
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => return items,
            }
        }
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = text(&self.get("/metrics").body);
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name}: {metrics}")).parse().unwrap()
    }

    /// Bytes of the process that are in memory now, and the most that ever were.
    pub fn memory(&self) -> [u64; 2] {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        ["VmRSS:", "VmHWM:"].map(|key| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request on a connection of its own.
pub fn try_request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        head += &format!("Host: {address}\r\n");
    }
    for header in headers {
        head += header;
        head += "\r\n";
    }
    // A server that refuses the head may stop reading the body.
    let sent = stream.write_all((head + "\r\n").as_bytes()).and_then(|()| stream.write_all(body));
    match read_answer(&mut stream) {
        Ok(answer) => Ok(answer),
        Err(error) => Err(sent.err().unwrap_or(error)),
    }
}

/// Reads an answer to the end of the connection.
pub fn read_answer(stream: &mut impl Read) -> std::io::Result<Answer> {
    let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_string());
    let mut bytes = Vec::new();
    // A server that has refused a body resets the connection if the client goes on sending.
    if let Err(error) = stream.read_to_end(&mut bytes)
        && bytes.is_empty()
    {
        return Err(error);
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(|| invalid("no head"))?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| invalid("no status"))?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_string()))
    };
    let headers: Vec<_> = lines.filter_map(header).collect();
    let mut answer = Answer { status, headers, body: bytes[end + 4..].to_vec() };
    if answer.header("transfer-encoding").is_some() {
        answer.body = unchunked(&answer.body).ok_or_else(|| invalid("the body is cut off"))?;
    }
    let length = answer.header("content-length").map(|length| length.parse::<usize>().unwrap());
    if length.is_some_and(|length| length != answer.body.len()) {
        return Err(invalid("the body is cut off"));
    }
    Ok(answer)
}

fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?, 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(end + 2..end + 2 + length)?);
        body = &body[end + 2 + length + 2..];
    }
}

/// A form: each part has a name, a file's name (none if empty), and its bytes.
pub fn form(parts: &[(&str, &str, &[u8])]) -> (String, Vec<u8>) {
    let boundary = "the-boundary-of-this-test";
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = if file.is_empty() { String::new() } else { format!("; filename=\"{file}\"") };
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// An image of 14 MB: more than the system's buffers of a connection hold.
pub fn large_image() -> Vec<u8> {
    let mut bmp = Vec::new();
    RgbImage::new(2400, 2000).write_to(&mut Cursor::new(&mut bmp), ImageFormat::Bmp).unwrap();
    bmp
}

/// Waits until something is so.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < 2 * PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Standard error of a server that does not start.
pub fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    text(&output.stderr)
}

/// All files in a folder and below, by their paths in it.
pub fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return names };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            names.extend(files(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            names.push(name);
        }
    }
    names.sort();
    names
}
