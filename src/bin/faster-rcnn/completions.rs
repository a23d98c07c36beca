//! `faster-rcnn completions`

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::output;

const EXAMPLES: &str = "\
Examples:

  faster-rcnn completions bash > ~/.local/share/bash-completion/completions/faster-rcnn
  faster-rcnn completions zsh > ~/.zfunc/_faster-rcnn
  faster-rcnn completions fish > ~/.config/fish/completions/faster-rcnn.fish";

/// Print a script that teaches a shell this program's options.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// The shell.
    shell: Shell,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut crate::Arguments::command(), "faster-rcnn", &mut script);
    output::print(script)
}
