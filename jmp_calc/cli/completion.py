"""``jmp-calc completion``: the script with which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_JMP_CALC_COMPLETE"
"""What click reads when a shell asks; its name follows from that of the program."""


@click.command(
    epilog="""\b
Examples:
  jmp-calc completion bash > ~/.local/share/bash-completion/completions/jmp-calc
  jmp-calc completion zsh > ~/.zfunc/_jmp-calc        (with fpath+=~/.zfunc before compinit in .zshrc)
  jmp-calc completion fish > ~/.config/fish/completions/jmp-calc.fish"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and files in SHELL.

    It is read when a new shell starts.
    """
    found = get_completion_class(shell)
    assert found is not None  # click has these three
    root = ctx.find_root()
    parts = found(root.command, {}, "jmp-calc", VARIABLE)
    click.echo(parts.source_template % parts.source_vars())
