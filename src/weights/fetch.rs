//! Downloads of published weight files, into a cache.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};

use super::manifest::Published;
use crate::error::{Error, Result};

/// How long a server may take to be reached, and to answer.
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
/// name once its SHA-256 is the published one. `progress` is told the bytes that are there and, where the
/// server says so, those of the whole file.
///
/// # Errors
///
/// [`Error::Io`] where the folder cannot be written, [`Error::Download`] where the server cannot be
/// reached (with what to do by hand), breaks off, or sends another file, and where another process is
/// downloading the file.
pub fn fetch(
    published: &Published,
    folder: &Path,
    mut progress: impl FnMut(u64, Option<u64>),
) -> Result<PathBuf> {
    let path = folder.join(published.file_name());
    if path.exists() {
        return match sha256_of(&path)?.starts_with(&published.sha256) {
            true => Ok(path),
            false => Err(Error::file(&path, "not the published file: its SHA-256 differs; remove it")),
        };
    }
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let part = folder.join(format!("{}.part", published.file_name()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&part)
        .map_err(Error::io(&part))?;
    let fail = |message: String| Error::Download { url: published.url.clone(), message, source: None };
    file.try_lock()
        .map_err(|error| fail(format!("{}: {error}; is it downloaded already?", part.display())))?;

    download(published, &mut file, &part, &path, &mut progress)?;
    file.sync_all().map_err(Error::io(&part))?;
    let sha256 = sha256_of(&part)?;
    if !sha256.starts_with(&published.sha256) {
        fs::remove_file(&part).map_err(Error::io(&part))?;
        let expected = &published.sha256;
        return Err(fail(format!(
            "is another file: its SHA-256 begins {}, not {expected}",
            &sha256[..expected.len()]
        )));
    }
    fs::rename(&part, &path).map_err(Error::io(&path))?;
    Ok(path)
}

/// Appends to what `file` holds until it is whole.
fn download(
    published: &Published,
    file: &mut File,
    part: &Path,
    path: &Path,
    progress: &mut impl FnMut(u64, Option<u64>),
) -> Result<()> {
    let fail = |message: String| Error::Download { url: published.url.clone(), message, source: None };
    let mut done = file.seek(io::SeekFrom::End(0)).map_err(Error::io(part))?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.get(&published.url);
    if done > 0 {
        request = request.header("Range", format!("bytes={done}-"));
    }
    let by_hand = |error: ureq::Error| {
        fail(format!("{error}; offline? download it elsewhere and put it at {}", path.display()))
    };
    let mut response = request.call().map_err(by_hand)?;
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
        let count = body.read(&mut block).map_err(|error| fail(format!("{error}; run it again to go on")))?;
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
    use crate::weights::Kind;

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
                holds: Kind::Classifier,
                url: format!("http://{}/models/tiny-{sha256}.pth", listener.local_addr().unwrap()),
                size_mib: 0.286,
                sha256,
                licence: String::new(),
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
                let result = fetch(&self.published, &folder, |done, total| progress.push((done, total)));
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
                Answer::Whole => rest,
                Answer::Cut(count) => &rest[..count],
                Answer::Anew => &self.content,
                Answer::Status(_) => &[],
            };
            let message = [head.as_bytes(), b"Connection: close\r\n\r\n", body].concat();
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
        assert!(result.unwrap_err().to_string().contains("run it again to go on"));
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

        let busy = File::open(bench.path(".part")).unwrap();
        busy.lock().unwrap();
        let error =
            fetch(&bench.published, bench.path("").parent().unwrap(), |_, _| ()).unwrap_err().to_string();
        assert!(error.contains("is it downloaded already?"), "{error}");
    }
}
