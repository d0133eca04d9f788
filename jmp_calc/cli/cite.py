"""``jmp-calc cite``: what to cite, as BibTeX."""

from __future__ import annotations

import click


@click.command(
    epilog="""\b
Examples:
  jmp-calc cite > jmp-calc.bib
  jmp-calc cite -m run/best.safetensors"""
)
@click.option("-m", "--model", default=None, help="Also the data that this model was trained on.")
def cite(model: str | None) -> None:
    """Print what to cite as BibTeX: the program, the method, and with a model its training data.

    Each entry says in a comment what it stands for; leave out what you did not use.
    """
    from ..zoo.citations import ALL, cited_data
    from ..zoo.describe import describe
    from ..zoo.names import locate

    data = None if model is None else cited_data(describe(locate(model, may_fetch=False)))
    click.echo("\n\n".join(citation.bibtex() for citation in ALL))
    if data is not None:
        click.echo(f"\n% training data of {model}" + ("" if data else ": the file names nothing to cite"))
        for name, text in data.items():
            click.echo(f"% {name}: {' '.join(text.split())}")
