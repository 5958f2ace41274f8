"""`serai ca`: the local certificate authority, and how to trust it."""

import hashlib
import shlex
import ssl

import click

from serai.cli.options import common_options, load_settings
from serai.connect.trust import AUTHORITY

_HOW = """\
Certificate   {path}
SHA-256       {fingerprint}
Good for      this machine's own names, those in `tls auto`, and hosts built into clients; no others

Programs started by `serai exec` or with `serai env` trust it already. For the others:

  curl        curl --cacert {quoted} …
  Python      SSL_CERT_FILE={quoted}      (REQUESTS_CA_BUNDLE for requests)
  Node        NODE_EXTRA_CA_CERTS={quoted}
  Debian      sudo cp {quoted} /usr/local/share/ca-certificates/serai.crt &&
              sudo update-ca-certificates
  Fedora      sudo trust anchor {quoted}
  macOS       security add-trusted-cert -k ~/Library/Keychains/login.keychain-db {quoted}
  Windows     certutil -user -addstore Root ca.pem
  Chromium    on Linux: certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n Serai -i {quoted}
  Firefox     Settings, Privacy & Security, View Certificates, Authorities, Import…

Firefox and Chromium on macOS and Windows, and Safari, use what the system trusts.
Whoever has {key} can sign for the names above: keep it to this machine."""


@click.command("ca")
@common_options
@click.option("--pem", is_flag=True, help="Print the certificate itself.")
def ca_command(pem: bool, **flags: str | None) -> None:
    """Show the certificate authority that `serai up --https` uses, and how to trust it."""
    directory = load_settings(**flags).data_dir.absolute() / "ca"
    path = directory / AUTHORITY
    try:
        text = path.read_text("ascii")
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest().upper()
    except (OSError, ValueError) as error:
        raise click.ClickException(
            f"there is no authority at {path} ({error}). `serai up` makes it; or name the right"
            " directory with --data-dir or SERAI_DATA_DIR."
        ) from error
    if pem:
        click.echo(text, nl=False)
        return
    click.echo(
        _HOW.format(
            path=path,
            quoted=shlex.quote(str(path)),
            key=directory / "ca.key",
            fingerprint=":".join(digest[at : at + 2] for at in range(0, len(digest), 2)),
        )
    )
