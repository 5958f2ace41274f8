"""`serai images`: the images that sandboxes can be made of."""

import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from serai.cli.options import common_options, load_settings
from serai.kernel.settings import Settings

if TYPE_CHECKING:
    from serai.runtime.roots.oci import Tell
    from serai.runtime.roots.provider import Images

T = TypeVar("T")


@click.group("images")
def images_command() -> None:
    """List, build, pull, import and remove the images that sandboxes are made of.

    All of it works on the data directory, whether or not the server runs; a running server uses
    what is new from its next sandbox on.
    """


@images_command.command("list")
@common_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_command(as_json: bool, **flags: str | None) -> None:
    """List the images there are, and those that are built on first use."""
    images = _images(load_settings(**flags))
    infos = images.infos()
    if as_json:
        rows = [
            {name: getattr(info, name) for name in info.__struct_fields__ if getattr(info, name)}
            for info in infos
        ]
        click.echo(json.dumps(rows))
        return
    width = max(len(info.reference) for info in infos)
    for info in infos:
        size = f"{info.size / (1 << 20):.0f} MiB" if info.size else ""
        made = info.made_at[:16].replace("T", " ")
        line = f"{info.reference:<{width}}  {info.state:<9}  {size:>9}  {made:<16}  {info.progress}"
        click.echo(line.rstrip())
    click.echo(f"\nOn disk: {images.store.total() / (1 << 20):.0f} MiB; layers are shared.")


@images_command.command("build")
@common_options
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--anew", is_flag=True, help="Build every layer again, with the newest packages.")
def build_command(names: tuple[str, ...], anew: bool, **flags: str | None) -> None:
    """Build images of the hub, for example nextjs, from Debian's, npm's and PyPI's packages.

    Needs mmdebstrap. Sandboxes that run keep the image that they have.
    """
    images = _images(load_settings(**flags))
    for name in names:
        short = name.rpartition("/")[2].partition(":")[0]
        image = _run(images.maker.build(short, _tell(name), anew=anew))
        click.echo(f"{name}  {image.digest}  {images.store.size(image) >> 20} MiB")


@images_command.command("pull")
@common_options
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE...")
def pull_command(references: tuple[str, ...], **flags: str | None) -> None:
    """Pull images from registries, for example docker.io/library/alpine:3.22.

    Credentials are read from registries.json in the data directory, then from Docker's config.json.
    """
    images = _images(load_settings(**flags))
    for reference in references:
        image = _run(images.maker.pull(reference, _tell(reference)))
        click.echo(f"{reference}  {image.digest}  {images.store.size(image) >> 20} MiB")


@images_command.command("import")
@common_options
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--name", required=True, metavar="NAME[:TAG]", help="How sandboxes name the image.")
@click.option("--tag", default="", help="Which image, when the layout holds several.")
def import_command(path: Path, name: str, tag: str, **flags: str | None) -> None:
    """Import an OCI image layout: a directory, or a tar file of one."""
    images = _images(load_settings(**flags))
    image = _run(images.maker.take_in(path, name, tag, _tell(name)))
    click.echo(f"{name}  {image.digest}  {images.store.size(image) >> 20} MiB")


@images_command.command("remove")
@common_options
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE...")
def remove_command(references: tuple[str, ...], **flags: str | None) -> None:
    """Remove images by name. Files that a sandbox still needs stay until it is gone."""
    from serai.runtime.port import RuntimeProblem

    images = _images(load_settings(**flags))
    try:
        for reference in references:
            if not images.store.forget(images.full(reference)):
                raise click.ClickException(f"there is no image {reference!r} in the store")
        click.echo(f"Freed {images.prune() >> 20} MiB.")
    except RuntimeProblem as problem:
        raise click.ClickException(str(problem)) from problem


@images_command.command("prune")
@common_options
def prune_command(**flags: str | None) -> None:
    """Remove layers, and parts of downloads, that no image and no sandbox needs."""
    from serai.runtime.port import RuntimeProblem

    images = _images(load_settings(**flags))
    try:
        click.echo(f"Freed {images.prune() >> 20} MiB.")
    except RuntimeProblem as problem:
        raise click.ClickException(str(problem)) from problem


def _images(settings: Settings) -> "Images":
    from serai.provided import image_policy
    from serai.runtime import host
    from serai.runtime.port import RuntimeProblem
    from serai.runtime.roots.provider import Images

    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        host.require_platform()
        owner = host.choose_user_range(settings.data_dir / "uid-base")
        images = Images(settings.data_dir, owner, image_policy(settings), dict(os.environ))
        images.store.prepare()
    except (RuntimeProblem, OSError) as problem:
        raise click.ClickException(str(problem)) from problem
    return images


def _run(work: "Coroutine[Any, Any, T]") -> T:
    import asyncio

    from serai.runtime.port import RuntimeProblem

    try:
        return asyncio.run(work)
    except RuntimeProblem as problem:
        raise click.ClickException(str(problem)) from problem
    finally:
        _end_line()


def _tell(name: str) -> "Tell":
    """Shows progress on standard error: one line that changes, or a line for each part of it."""
    shown = ""

    def tell(text: str) -> None:
        nonlocal shown
        if sys.stderr.isatty():
            line = f"{name}: {text}"
            sys.stderr.write(f"\r\x1b[K{_plain(line)[:110]}")
            sys.stderr.flush()
        elif (part := ": ".join(text.split(": ")[:2])) != shown:
            shown = part
            sys.stderr.write(f"{name}: {_plain(text)}\n")

    return tell


def _plain(text: str) -> str:
    """Without what could move the cursor: a step prints what it likes."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _end_line() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
