//! What a user says about a weight file that the file itself cannot say.

/// How to load a weight file: settings that the file does not have, tensors that need not fit, and which
/// model to take from a file with several.
///
/// A file of PyTorch's has tensors only. The anchors or the image size that a detector was trained with must
/// be given:
///
/// ```
/// use faster_rcnn::weights::LoadOptions;
///
/// let options = LoadOptions::default()
///     .set("anchors.sizes=[8, 16, 32, 64, 128]")
///     .set("transform.min_size=128")
///     .set("frozen_epsilon=0");
/// ```
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    pub(super) allowed: Vec<String>,
    pub(super) settings: Vec<String>,
    pub(super) prefix: Option<String>,
}

impl LoadOptions {
    /// Sets a setting of [`FasterRcnnConfig`](crate::model::FasterRcnnConfig) as `KEY=VALUE`, in the words of
    /// a run's TOML file without its `model.`. It overrides the file. If a key is set several times, the last
    /// value counts. Faults are found when a file is loaded.
    #[must_use]
    pub fn set(mut self, setting: impl Into<String>) -> Self {
        self.settings.push(setting.into());
        self
    }

    /// Accepts that tensors whose names start with `prefix` are missing, unused or of another shape. The
    /// report lists them. A detector made from the file alone needs all of its tensors: there, only unused
    /// ones are accepted.
    #[must_use]
    pub fn allow(mut self, prefix: impl Into<String>) -> Self {
        self.allowed.push(prefix.into());
        self
    }

    /// Takes the model whose names in the file start with `prefix`, such as `model_ema.module.`. Without it,
    /// a file must hold one model only.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    pub(super) fn allows(&self, name: &str) -> bool {
        self.allowed.iter().any(|prefix| name.starts_with(prefix))
    }

    /// Whether there is a value for a setting.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.settings.iter().any(|setting| setting.split('=').next().map(str::trim) == Some(key))
    }
}
