//! How far long work is, on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error for `count` things called `what`, such as `images`. Where standard error is no
/// terminal, nothing is shown.
pub fn bar(count: usize, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(count as u64);
    let template = format!("{{wide_bar}} {{pos}} of {{len}} {what}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).expect("the template is right");
    bar.set_style(style.with_key(
        "per_sec",
        |state: &indicatif::ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = write!(text, "{:.1}/s", state.per_sec());
        },
    ));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A sign on standard error that something is being done, where nobody knows how much there is of it.
pub fn spinner(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}").expect("the template is right");
    let spinner = ProgressBar::new_spinner().with_style(style).with_message(what);
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}

/// A bar of bytes that are downloaded, which is shown with the first ones, as `weights::fetch` reports them.
pub fn download() -> impl FnMut(u64, Option<u64>) {
    let template = "{wide_bar} {binary_bytes} of {binary_total_bytes}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is right");
    let mut shown: Option<ProgressBar> = None;
    move |done, total| {
        let bar = shown.get_or_insert_with(|| ProgressBar::no_length().with_style(style.clone()));
        total.into_iter().for_each(|total| bar.set_length(total));
        bar.set_position(done);
    }
}
