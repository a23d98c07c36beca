//! `faster-rcnn completions`

use anyhow::Result;
use clap::Command;
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

/// `program` is the whole command line.
pub fn run(arguments: Arguments, mut program: Command) -> Result<()> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut program, "faster-rcnn", &mut script);
    output::print(script)
}
