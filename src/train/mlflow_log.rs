//! A run on MLflow's server, while it goes on: settings, numbers by epoch, pictures, the best weights.
//!
//! A thread of its own talks to the server, so training never waits for it. What the server does not take
//! waits in a list of limited length, and is tried again now and then and at the end.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::observer::Observer;
use super::rows::Row;
use super::run_info::RunInfo;
use crate::error::{Error, Result};
use crate::files::write_bytes;
use crate::mlflow::{Client, MlflowRun, now};

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a server that is gone is left alone.
const PAUSE: Duration = Duration::from_secs(30);
/// How long the end of a run waits for the last files to be taken.
const AT_THE_END: Duration = Duration::from_secs(60);
/// After so many entries that the server does not take now, it is left alone.
const FAULTS: usize = 2;
/// The most entries that wait for the server.
const WAITING: usize = 1024;
/// The file in the run's folder that says which run on the server it is.
const FILE: &str = "mlflow.json";

/// Passes on what it hears.
pub(super) struct MlflowLog {
    url: String,
    entries: SyncSender<Entry>,
    /// Gets the warnings when all is done.
    done: Receiver<Vec<String>>,
}

enum Entry {
    /// The settings of the run.
    Settings,
    Metrics {
        values: Vec<(String, f64)>,
        epoch: usize,
        time: i64,
    },
    File(String),
    End {
        succeeded: bool,
    },
}

/// Which run on the server belongs to a folder.
#[derive(Serialize, Deserialize)]
struct Known {
    url: String,
    run_id: String,
}

impl MlflowLog {
    /// Begins at once, and meets the server on another thread.
    pub fn start(url: String, experiment: String, folder: &Path, info: &RunInfo) -> Self {
        let settings = serde_json::to_value(&info.config).expect("settings have named fields");
        let sending = Sending {
            client: Client::new(&url, PATIENCE),
            experiment,
            folder: folder.to_path_buf(),
            settings,
            resumes: info.step > 0,
            run: None,
            waiting: VecDeque::new(),
            lost: 0,
            silent_until: Instant::now(),
            warnings: Vec::new(),
        };
        let ((entries, received), (finished, done)) = (sync_channel(WAITING), channel());
        thread::spawn(move || {
            // If the run does not wait any longer, nobody hears the warnings.
            let _ = finished.send(sending.work(&received));
        });
        let log = Self { url, entries, done };
        log.pass(Entry::File("config.toml".to_string()));
        log
    }

    fn pass(&self, entry: Entry) {
        if self.entries.try_send(entry).is_err() {
            tracing::warn!(url = self.url, "MLflow's server is too slow: an entry is left out");
        }
    }
}

impl Observer for MlflowLog {
    fn row(&mut self, row: &Row, _: usize) {
        if row.step.is_some() {
            return;
        }
        let value =
            |(name, value): (&String, &Option<f64>)| Some((format!("{}/{name}", row.split), (*value)?));
        let values = row.values.iter().filter_map(value).collect();
        self.pass(Entry::Metrics { values, epoch: row.epoch, time: now() });
    }

    fn file(&mut self, name: &str) {
        self.pass(Entry::File(name.to_string()));
    }

    fn end(&mut self, succeeded: bool) -> Vec<String> {
        self.pass(Entry::End { succeeded });
        self.done.recv_timeout(AT_THE_END).unwrap_or_else(|_| {
            let seconds = AT_THE_END.as_secs();
            vec![format!("{}: MLflow's server did not take everything within {seconds} s", self.url)]
        })
    }
}

/// The side that talks to the server.
struct Sending {
    client: Client,
    experiment: String,
    folder: PathBuf,
    settings: Value,
    resumes: bool,
    run: Option<MlflowRun>,
    waiting: VecDeque<Entry>,
    lost: usize,
    silent_until: Instant,
    warnings: Vec<String>,
}

impl Sending {
    /// Until the run ends; gives the warnings.
    fn work(mut self, entries: &Receiver<Entry>) -> Vec<String> {
        for entry in entries {
            let ends = matches!(entry, Entry::End { .. });
            self.waiting.push_back(entry);
            if self.waiting.len() > WAITING {
                self.waiting.pop_front();
                self.lost += 1;
            }
            if ends || Instant::now() >= self.silent_until {
                self.send_waiting();
            }
            if ends {
                break;
            }
        }
        let lost = self.lost + self.waiting.len();
        if lost > 0 {
            self.warn(format!("{}: MLflow's server did not take {lost} entries", self.client.url()));
        }
        self.warnings
    }

    /// Sends what waits. An entry that the server cannot take now is sent again later.
    fn send_waiting(&mut self) {
        let mut later = VecDeque::new();
        while later.len() < FAULTS
            && let Some(entry) = self.waiting.pop_front()
        {
            let Err(error) = self.send(&entry) else { continue };
            self.warn(format!("{error:#}"));
            match error {
                Error::Server { source: Some(_), .. } => later.push_back(entry),
                _ => self.lost += 1,
            }
        }
        if !later.is_empty() {
            self.silent_until = Instant::now() + PAUSE;
            // Behind the others, so that one that the server never takes does not hold them up.
            self.waiting.append(&mut later);
        }
    }

    fn send(&mut self, entry: &Entry) -> Result<()> {
        let run = match &self.run {
            Some(run) => run.clone(),
            None => self.begin()?,
        };
        match entry {
            Entry::Settings => run.settings(&self.settings),
            Entry::Metrics { values, epoch, time } => {
                let values = values.iter().map(|(name, value)| (name.as_str(), *value));
                run.metrics(values, *epoch, *time)
            }
            Entry::File(name) => run.upload(&self.folder.join(name), name),
            Entry::End { succeeded } => run.end(*succeeded),
        }
    }

    /// A new run on the server, or the one of the folder where that is resumed.
    fn begin(&mut self) -> Result<MlflowRun> {
        let path = self.folder.join(FILE);
        if self.resumes
            && let Some(known) = std::fs::read(&path).ok()
            && let Ok(known) = serde_json::from_slice::<Known>(&known)
            && known.url == self.client.url()
        {
            let run = MlflowRun::resume(self.client.clone(), &known.run_id)?;
            return Ok(self.run.insert(run).clone());
        }
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        let run = MlflowRun::begin(self.client.clone(), &self.experiment, &name)?;
        // From here on, whatever fails, no second run is begun.
        self.run = Some(run.clone());
        self.waiting.push_front(Entry::Settings);
        let known = Known { url: self.client.url().to_string(), run_id: run.id().to_string() };
        let json = serde_json::to_string(&known).expect("plain data is JSON");
        if let Err(error) = write_bytes(&path, json.as_bytes()) {
            self.warn(format!("{error:#}"));
        }
        Ok(run)
    }

    fn warn(&mut self, message: String) {
        tracing::warn!("{message}");
        if !self.warnings.contains(&message) {
            self.warnings.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;

    /// A server with one run. It fails once when it gets settings, and refuses numbers called `bad`. Gives
    /// its URL and the calls that it got.
    fn server() -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        thread::spawn(move || {
            let mut failed = false;
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    assert!(reader.read_line(&mut head).unwrap() > 0);
                }
                let length = head.to_lowercase();
                let length = length
                    .split_once("content-length: ")
                    .map_or(0, |(_, rest)| rest.lines().next().unwrap().trim().parse::<usize>().unwrap());
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let body = String::from_utf8(body).unwrap();
                let path = head.split(' ').nth(1).unwrap();
                let call = path.trim_start_matches("/api/2.0/mlflow/").split('?').next().unwrap();
                let (status, answer) = if body.contains("\"params\"") && !failed {
                    failed = true;
                    (503, json!({}))
                } else if body.contains("\"bad\"") {
                    (400, json!({ "message": "no such number" }))
                } else {
                    let info = json!({ "run_id": "r", "artifact_uri": "mlflow-artifacts:/1/r" });
                    let experiment = json!({ "experiment_id": "1" });
                    (200, json!({ "experiment": experiment, "run": { "info": info } }))
                };
                seen.lock().unwrap().push(format!("{call} {status}"));
                let answer = answer.to_string();
                let length = answer.len();
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close");
                write!(stream, "{head}\r\n\r\n{answer}").unwrap();
            }
        });
        (url, calls)
    }

    #[test]
    fn one_run_is_begun_and_what_the_server_cannot_take_now_is_sent_again() {
        let (url, calls) = server();
        let folder = tempfile::tempdir().unwrap();
        let metrics = |name: &str| {
            let values = vec![(name.to_string(), 1.0)];
            Entry::Metrics { values, epoch: 1, time: 0 }
        };
        let mut sending = Sending {
            client: Client::new(&url, PATIENCE),
            experiment: "boards".to_string(),
            folder: folder.path().to_path_buf(),
            settings: json!({ "epochs": 3 }),
            resumes: false,
            run: None,
            waiting: [metrics("good"), metrics("bad"), Entry::End { succeeded: true }].into(),
            lost: 0,
            silent_until: Instant::now(),
            warnings: Vec::new(),
        };
        sending.send_waiting();
        assert!(matches!(sending.waiting.make_contiguous(), [Entry::Settings]));
        assert!(sending.silent_until > Instant::now());
        sending.send_waiting();
        assert!(sending.waiting.is_empty());
        assert_eq!((sending.lost, sending.warnings.len()), (1, 2), "{:?}", sending.warnings);
        let begun = ["experiments/create 200", "experiments/get-by-name 200", "runs/create 200"];
        let rest = ["log-batch 200", "log-batch 503", "log-batch 400", "update 200", "log-batch 200"];
        let expected = begun.map(str::to_string).into_iter().chain(rest.map(|call| format!("runs/{call}")));
        assert_eq!(*calls.lock().unwrap(), expected.collect::<Vec<String>>());
    }
}
