//! Downloads of published weight files, into a cache.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};

use super::manifest::Published;
use crate::error::{Cause, Error, Result};

/// How long a server may take to be reached, to answer, and to send the next bytes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The folder that [`fetch`] is meant for: `faster-rcnn` in the user's cache folder (on Linux
/// `$XDG_CACHE_HOME` or `~/.cache`).
///
/// # Errors
///
/// [`Error::Config`] where the user has no home folder.
pub fn cache_folder() -> Result<PathBuf> {
    let strategy = etcetera::choose_base_strategy().map_err(|error| Error::Config(error.to_string()))?;
    Ok(strategy.cache_dir().join("faster-rcnn"))
}

/// Downloads a published file into a folder, unless it is there already, and gives its path.
///
/// What arrives is kept beside it as `NAME.part`, from which an interrupted download goes on, and gets its
/// name once its SHA-256 begins as torchvision publishes it. `NAME.lock` keeps other processes away meanwhile, and stays.
/// `progress` is called with the number of bytes that are there and, where the server says so, that of the whole file.
///
/// # Errors
///
/// [`Error::Io`] where the folder cannot be written, [`Error::Download`] where the server cannot be
/// reached (with what to do by hand), sends nothing for half a minute, breaks off, or sends another file, and where
/// another process is downloading the file.
pub fn fetch(
    published: &Published,
    folder: impl AsRef<Path>,
    progress: impl FnMut(u64, Option<u64>),
) -> Result<PathBuf> {
    fetch_patiently(published, folder.as_ref(), PATIENCE, progress)
}

fn fetch_patiently(
    published: &Published,
    folder: &Path,
    patience: Duration,
    mut progress: impl FnMut(u64, Option<u64>),
) -> Result<PathBuf> {
    let path = folder.join(published.file_name());
    if path.exists() {
        return verified(published, path);
    }
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    // A file of its own: `.part` gets another name, under which a process that waits for it must not find it locked.
    let lock = folder.join(format!("{}.lock", published.file_name()));
    let lock_file = open(&lock)?;
    lock_file.try_lock().map_err(|error| {
        let message = format!("{}: is it downloaded already?", lock.display());
        failed(published, message, Some(Box::new(io::Error::from(error))))
    })?;
    // Another process may have finished between the two looks.
    if path.exists() {
        return verified(published, path);
    }
    let part = folder.join(format!("{}.part", published.file_name()));
    let mut file = open(&part)?;
    download(published, patience, &mut file, [&part, &path], &mut progress)?;
    file.sync_all().map_err(Error::io(&part))?;
    let sha256 = sha256_of(&part)?;
    if !sha256.starts_with(&published.sha256) {
        fs::remove_file(&part).map_err(Error::io(&part))?;
        let expected = &published.sha256;
        let message =
            format!("is another file: its SHA-256 begins {}, not {expected}", &sha256[..expected.len()]);
        return Err(failed(published, message, None));
    }
    fs::rename(&part, &path).map_err(Error::io(&path))?;
    Ok(path)
}

/// A file to read and to append to.
fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(Error::io(path))
}

/// The path of a file that is there, if it is the published one.
fn verified(published: &Published, path: PathBuf) -> Result<PathBuf> {
    match sha256_of(&path)?.starts_with(&published.sha256) {
        true => Ok(path),
        false => Err(Error::file(&path, "not the published file: its SHA-256 differs; remove it")),
    }
}

fn failed(published: &Published, message: String, source: Option<Cause>) -> Error {
    Error::Download { url: published.url.clone(), message, source }
}

/// Appends to what `file`, which is at `part` and is to go to `path`, holds until it is whole.
fn download(
    published: &Published,
    patience: Duration,
    file: &mut File,
    [part, path]: [&Path; 2],
    progress: &mut impl FnMut(u64, Option<u64>),
) -> Result<()> {
    let fail = |message: String| failed(published, message, None);
    let mut done = file.seek(io::SeekFrom::End(0)).map_err(Error::io(part))?;
    let mut response = request(published, patience, done).map_err(|error| {
        let message = format!("no answer; offline? download it elsewhere and put it at {}", path.display());
        failed(published, message, Some(cause(error)))
    })?;
    match response.status().as_u16() {
        // The server begins anew.
        200 => {
            file.set_len(0).and_then(|()| file.rewind()).map_err(Error::io(part))?;
            done = 0;
        }
        206 if response
            .headers()
            .get("content-range")
            .and_then(|range| range.to_str().ok())
            .is_some_and(|range| range.starts_with(&format!("bytes {done}-"))) => {}
        // There is nothing after what is there: it is whole, or none of this file's.
        416 if done > 0 => return Ok(()),
        status => return Err(fail(format!("the server answers with status {status}"))),
    }
    // The published size is rounded to three decimals.
    let limit = ((published.size_mib + 0.001) * f64::from(1 << 20)) as u64;
    let total = response.body().content_length().map(|rest| done + rest);
    let mut body = response.body_mut().as_reader();
    let mut block = vec![0; 1 << 16];
    progress(done, total);
    loop {
        let count = body.read(&mut block).map_err(|error| {
            let message = format!("broke off after {done} bytes; run it again to go on");
            let source = error.downcast().map_or_else(|error| Box::new(error) as Cause, cause);
            failed(published, message, Some(source))
        })?;
        if count == 0 {
            break;
        }
        file.write_all(&block[..count]).map_err(Error::io(part))?;
        done += count as u64;
        if done > limit {
            file.set_len(0).map_err(Error::io(part))?;
            return Err(fail(format!("sends more than the {} MiB published", published.size_mib)));
        }
        progress(done, total);
    }
    match total {
        Some(total) if done != total => {
            Err(fail(format!("broke off after {done} of {total} bytes; run it again to go on")))
        }
        _ => Ok(()),
    }
}

/// The error as one of the system's, where it is one, so that its kind can be looked at.
fn cause(error: ureq::Error) -> Cause {
    match error {
        ureq::Error::Io(error) => Box::new(error),
        ureq::Error::Timeout(_) => Box::new(io::Error::new(io::ErrorKind::TimedOut, error)),
        error => Box::new(error),
    }
}

/// Asks for the file from its byte `start` on.
fn request(
    published: &Published,
    patience: Duration,
    start: u64,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        // Of each read, whatever the size of the file.
        .timeout_per_read(Some(patience))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(&published.url);
    if start > 0 {
        request = request.header("Range", format!("bytes={start}-"));
    }
    request.call()
}

/// Hexadecimal.
fn sha256_of(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher)).map_err(Error::io(path))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use tempfile::TempDir;

    use super::*;
    use crate::weights::kind::WeightFileKind;

    /// The bytes that were there, and those of the whole file, again and again.
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

        /// Fetches while the server answers once, so; gives the result, the progress and the byte that
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
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{length}\r\nContent-Length: {}\r\n",
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
                // The client waits no longer at some time, and hangs up.
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

        // Nobody is asked for what is there.
        let path = fetch(&bench.published, bench.path("").parent().unwrap(), |_, _| panic!("a download"));
        assert_eq!(path.unwrap(), bench.path(""));
    }

    #[test]
    fn what_is_there_is_not_trusted() {
        let bench = Bench::new();
        fs::create_dir(bench.path("").parent().unwrap()).unwrap();
        // A server that knows no ranges begins anew; one that has nothing more to send says the part is whole.
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

        // Nobody touches what is whole, whatever else is there.
        fs::write(bench.path(".part"), "rest of a process that was killed").unwrap();
        fetch(&bench.published, &cache, |_, _| panic!("a download")).unwrap();
        assert!(fs::read(bench.path("")).unwrap() == bench.content);
    }
}
