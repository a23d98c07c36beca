//! Downloads from a server on this machine, which answers well and badly.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::weights::kind::WeightFileKind;

/// Each reported progress: the bytes so far, and the bytes of the whole file.
type Progress = Vec<(u64, Option<u64>)>;

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Answer {
    /// Sends what is asked for.
    Whole,
    /// Sends so many bytes of it and hangs up.
    Cut(usize),
    /// Sends all, whatever is asked for, and does not tell how much that is.
    Anew,
    /// Sends nothing but a status.
    Status(&'static str),
    /// Sends so many bytes of the whole message and then nothing, but does not hang up.
    Stall(usize),
}

/// A folder, and a file that a server on this machine has.
struct Bench {
    folder: TempDir,
    content: Vec<u8>,
    published: Published,
    listener: TcpListener,
}

impl Bench {
    fn new() -> Self {
        let content: Vec<u8> = (0..300_000_u32).map(|index| ((index * 7919) >> 8) as u8).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let sha256 = {
            fs::write(folder.path().join("original"), &content).unwrap();
            sha256_of(&folder.path().join("original")).unwrap()[..8].to_string()
        };
        let published = Published {
            name: "tiny".to_string(),
            kind: WeightFileKind::Classifier,
            url: format!("http://{}/models/tiny-{sha256}.pth", listener.local_addr().unwrap()),
            size_mib: 0.286,
            sha256,
            license: String::new(),
            figures: String::new(),
        };
        Self { folder, content, published, listener }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("cache/{}{suffix}", self.published.file_name()))
    }

    /// Fetches while the server answers once, with `answer`. Gives the result, the progress and the byte that
    /// the server was asked to start from.
    fn fetch(&self, answer: Answer) -> (Result<PathBuf>, Progress, usize) {
        thread::scope(|scope| {
            let server = scope.spawn(|| self.serve(answer));
            let mut progress = Vec::new();
            let folder = self.folder.path().join("cache");
            let told = |done, total| progress.push((done, total));
            let result = fetch_patiently(&self.published, &folder, Duration::from_millis(500), told);
            assert!(progress.is_sorted());
            (result, progress, server.join().unwrap())
        })
    }

    fn serve(&self, answer: Answer) -> usize {
        let (mut stream, _) = self.listener.accept().unwrap();
        let mut start = None;
        let lines = BufReader::new(&stream).lines().map(Result::unwrap);
        for line in lines.take_while(|line| !line.is_empty()) {
            if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                start = Some(range.trim_end_matches('-').parse().unwrap());
            }
        }
        let asked: usize = start.unwrap_or(0);
        let length = self.content.len();
        let rest = &self.content[asked.min(length)..];
        let head = match (answer, start) {
            (Answer::Status(status), _) => format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n"),
            (Answer::Anew, _) => "HTTP/1.1 200 OK\r\n".to_string(),
            (_, Some(start)) if start >= length => {
                format!("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{length}\r\n")
            }
            (_, Some(start)) => format!(
                "HTTP/1.1 206 Partial Content\r\n\
                 Content-Range: bytes {start}-{}/{length}\r\nContent-Length: {}\r\n",
                length - 1,
                rest.len()
            ),
            (_, None) => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n"),
        };
        let body = match answer {
            Answer::Whole | Answer::Stall(_) => rest,
            Answer::Cut(count) => &rest[..count],
            Answer::Anew => &self.content,
            Answer::Status(_) => &[],
        };
        let message = [head.as_bytes(), b"Connection: close\r\n\r\n", body].concat();
        if let Answer::Stall(count) = answer {
            stream.write_all(&message[..count]).unwrap();
            // At some time the client stops waiting and hangs up.
            let _ = io::copy(&mut stream, &mut io::sink());
        }
        // The client may have hung up on what it does not want.
        let _ = stream.write_all(&message);
        asked
    }
}

#[test]
fn a_download_is_whole_or_goes_on_where_it_broke_off() {
    let bench = Bench::new();
    let total = bench.content.len() as u64;
    let (result, progress, _) = bench.fetch(Answer::Cut(100_000));
    let error = result.unwrap_err();
    assert!(error.to_string().contains("run it again to go on"), "{error:#}");
    assert_eq!(progress[0], (0, Some(total)));
    assert!(!bench.path("").exists() && fs::metadata(bench.path(".part")).unwrap().len() == 100_000);

    let (result, progress, asked) = bench.fetch(Answer::Whole);
    assert_eq!((result.unwrap(), asked), (bench.path(""), 100_000));
    assert_eq!((progress[0], *progress.last().unwrap()), ((100_000, Some(total)), (total, Some(total))));
    assert!(fs::read(bench.path("")).unwrap() == bench.content && !bench.path(".part").exists());

    // No download if the file is there.
    let path = fetch(&bench.published, bench.path("").parent().unwrap(), |_, _| panic!("a download"));
    assert_eq!(path.unwrap(), bench.path(""));
}

#[test]
fn what_is_there_is_not_trusted() {
    let bench = Bench::new();
    fs::create_dir(bench.path("").parent().unwrap()).unwrap();
    // A server that knows no ranges begins anew; one that has nothing more to send says the part is
    // whole.
    fs::write(bench.path(".part"), &bench.content[..5]).unwrap();
    let (result, progress, asked) = bench.fetch(Answer::Anew);
    assert_eq!((result.unwrap(), progress[0], asked), (bench.path(""), (0, None), 5));
    fs::rename(bench.path(""), bench.path(".part")).unwrap();
    assert_eq!(bench.fetch(Answer::Whole).0.unwrap(), bench.path(""));
    assert!(fs::read(bench.path("")).unwrap() == bench.content);
    fs::remove_file(bench.path("")).unwrap();

    // The beginning of another file, and a longer one.
    for other in [vec![0; 1000], vec![0; 400_000]] {
        fs::write(bench.path(".part"), other).unwrap();
        let error = bench.fetch(Answer::Whole).0.unwrap_err().to_string();
        assert!(error.contains("is another file: its SHA-256 begins "), "{error}");
        assert!(!bench.path("").exists() && !bench.path(".part").exists());
    }
    fs::write(bench.path(""), "another file").unwrap();
    let error = fetch(&bench.published, bench.path("").parent().unwrap(), |_, _| ()).unwrap_err();
    assert!(matches!(&error, Error::File { path, .. } if *path == bench.path("")), "{error}");
}

#[test]
fn what_a_server_refuses_is_an_error_with_the_url() {
    let mut bench = Bench::new();
    for (answer, expected) in [
        (Answer::Status("404 Not Found"), "answers with status 404"),
        (Answer::Status("500 No"), "status 500"),
    ] {
        let error = bench.fetch(answer).0.unwrap_err();
        assert!(matches!(&error, Error::Download { url, .. } if *url == bench.published.url));
        assert!(error.to_string().contains(expected), "{error}");
    }
    bench.published.size_mib = 0.1;
    let error = bench.fetch(Answer::Whole).0.unwrap_err().to_string();
    assert!(error.contains("sends more than the"), "{error}");
    assert_eq!(fs::metadata(bench.path(".part")).unwrap().len(), 0);
}

fn kind(error: &Error) -> Option<io::ErrorKind> {
    let Error::Download { source, .. } = error else { panic!("{error}") };
    source.as_ref().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind)
}

#[test]
fn a_server_that_stalls_or_is_not_there_is_an_error_with_its_kind() {
    let bench = Bench::new();
    // Nothing at all, a part of the head, and a part of the content.
    for (count, expected) in [(0, "no answer"), (20, "no answer"), (100_000, "run it again to go on")] {
        let error = bench.fetch(Answer::Stall(count)).0.unwrap_err();
        assert_eq!(kind(&error), Some(io::ErrorKind::TimedOut), "{error:#}");
        assert!(error.to_string().contains(expected), "{error:#}");
    }
    assert!(fs::metadata(bench.path(".part")).unwrap().len() > 0);
    assert_eq!(bench.fetch(Answer::Whole).0.unwrap(), bench.path(""));

    let Bench { folder, published, listener, .. } = Bench::new();
    drop(listener);
    let error = fetch(&published, folder.path(), |_, _| ()).unwrap_err();
    assert_eq!(kind(&error), Some(io::ErrorKind::ConnectionRefused), "{error:#}");
}

#[test]
fn one_process_at_a_time_downloads_and_what_is_whole_stays() {
    let bench = Bench::new();
    let cache = bench.path("").parent().unwrap().to_path_buf();
    let mut second = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| bench.serve(Answer::Whole));
        let told = |_, _| {
            let error = fetch(&bench.published, &cache, |_, _| ()).unwrap_err();
            second.push(kind(&error) == Some(io::ErrorKind::WouldBlock));
        };
        fetch(&bench.published, &cache, told).unwrap();
    });
    assert!(second.len() > 1 && second.iter().all(|blocked| *blocked));

    // A complete file is left alone, whatever is beside it.
    fs::write(bench.path(".part"), "rest of a process that was killed").unwrap();
    fetch(&bench.published, &cache, |_, _| panic!("a download")).unwrap();
    assert!(fs::read(bench.path("")).unwrap() == bench.content);
}
