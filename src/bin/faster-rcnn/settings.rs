//! `--set model.KEY=VALUE` and `--prefix`, of the commands that read weights.

use faster_rcnn::weights::LoadOptions;

/// Information that is not in the weight file itself.
#[derive(clap::Args)]
pub struct WeightArguments {
    /// Another value for a setting of the model, such as model.anchors.sizes=[8,16,32,64,128]; may be given
    /// again. The settings are those of a run's file.
    #[arg(long = "set", value_name = "model.KEY=VALUE", value_parser = model_setting)]
    settings: Vec<String>,
    /// Which model to take from a file with several: what the names of its tensors begin with, such as
    /// model_ema.module.
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
}

impl WeightArguments {
    /// The options for the library.
    pub fn options(&self) -> LoadOptions {
        let options = self.settings.iter().fold(LoadOptions::default(), LoadOptions::set);
        self.prefix.iter().fold(options, LoadOptions::prefix)
    }
}

/// A `model.KEY=VALUE` without its `model.`.
fn model_setting(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, value)) => match key.trim().strip_prefix("model.").filter(|key| !key.is_empty()) {
            Some(key) => Ok(format!("{key}={value}")),
            None => Err("only settings of the model can be set here: model.KEY=VALUE".to_string()),
        },
        None => Err("expected model.KEY=VALUE".to_string()),
    }
}
