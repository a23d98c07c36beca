//! The commands and options of Cargo features, in a program that was built without them. They are parsed
//! here, so that the error is not `unknown` but says which feature is missing.

/// Options of `train` that need the feature `workers`.
#[cfg(any(test, not(feature = "workers")))]
#[derive(clap::Args)]
pub struct WorkersOptions {
    #[arg(long = "workers", value_name = "ADDRESSES", hide = true, value_parser = refuse_workers)]
    _workers: Option<String>,
    #[arg(long = "token-file", value_name = "FILE", hide = true, value_parser = refuse_workers)]
    _token_file: Option<String>,
    #[arg(long = "restarts", value_name = "N", hide = true, value_parser = refuse_workers)]
    _restarts: Option<String>,
    #[arg(long = "rejoin-timeout", value_name = "SECONDS", hide = true, value_parser = refuse_workers)]
    _rejoin_timeout: Option<String>,
    #[arg(long = "spare", value_name = "ADDRESSES", hide = true, value_parser = refuse_workers)]
    _spare: Option<String>,
}

/// Options of `train` that need the feature `mlflow`.
#[cfg(any(test, not(feature = "mlflow")))]
#[derive(clap::Args)]
pub struct MlflowOptions {
    #[arg(long = "mlflow", value_name = "URL", hide = true, value_parser = refuse_mlflow)]
    _mlflow: Option<String>,
    #[arg(long = "mlflow-experiment", value_name = "NAME", hide = true, value_parser = refuse_mlflow)]
    _mlflow_experiment: Option<String>,
}

/// A command with any options.
#[cfg(any(
    test,
    not(feature = "records"),
    not(feature = "serve"),
    not(feature = "tables"),
    not(feature = "workers")
))]
#[derive(clap::Args)]
#[command(hide = true, disable_help_flag = true)]
pub struct AnyArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<std::ffi::OsString>,
}

#[cfg(any(test, not(feature = "workers")))]
fn refuse_workers(_: &str) -> Result<String, String> {
    Err(missing("workers"))
}

#[cfg(any(test, not(feature = "mlflow")))]
fn refuse_mlflow(_: &str) -> Result<String, String> {
    Err(missing("mlflow"))
}

fn missing(feature: &str) -> String {
    format!("needs the Cargo feature `{feature}`, which this program was built without")
}

/// Refuses a command.
#[cfg(any(
    test,
    not(feature = "records"),
    not(feature = "serve"),
    not(feature = "tables"),
    not(feature = "workers")
))]
pub fn run(command: &str, feature: &str, _: AnyArguments) -> anyhow::Result<()> {
    anyhow::bail!("`{command}` {}", missing(feature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    #[allow(dead_code, reason = "the first two are parsed only")]
    enum Program {
        Train(WorkersOptions),
        Told(MlflowOptions),
        Worker(AnyArguments),
    }

    #[test]
    fn an_option_of_a_missing_feature_ends_with_its_name() {
        for arguments in [["train", "--workers", "local:2"], ["train", "--token-file", "token"]] {
            let error = Program::try_parse_from(["faster-rcnn"].iter().chain(&arguments)).err().unwrap();
            assert!(error.to_string().contains("feature `workers`"), "{error}");
        }
        let told = ["faster-rcnn", "told", "--mlflow", "http://mlflow:5000"];
        let error = Program::try_parse_from(told).err().unwrap();
        assert!(error.to_string().contains("feature `mlflow`"), "{error}");
        for arguments in
            [vec!["worker"], vec!["worker", "--listen", "0.0.0.0:3000"], vec!["worker", "--help"]]
        {
            let Ok(Program::Worker(worker)) =
                Program::try_parse_from(["faster-rcnn"].iter().chain(&arguments))
            else {
                panic!("{arguments:?} is refused before its feature can be named");
            };
            let error = run("worker", "workers", worker).unwrap_err().to_string();
            assert!(error.starts_with("`worker` needs the Cargo feature `workers`"), "{error}");
        }
        assert!(Program::try_parse_from(["faster-rcnn", "train"]).is_ok());
    }
}
