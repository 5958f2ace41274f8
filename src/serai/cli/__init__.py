"""The `serai` command. Heavy modules are imported by the command that needs them."""

import click

import serai
from serai.cli.accounts import accounts_command
from serai.cli.ca import ca_command
from serai.cli.clients import env_command, exec_command
from serai.cli.conformance import conformance_command
from serai.cli.doctor import doctor_command
from serai.cli.images import images_command
from serai.cli.passwords import reset_password_command
from serai.cli.signing_keys import signing_keys_command
from serai.cli.status import status_command
from serai.cli.up import up_command
from serai.cli.usage import usage_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(serai.__version__, prog_name="serai")
def main() -> None:
    """Serai: a self-hosted platform for AI agents that speaks the Blaxel APIs.

    \b
    Start a server:            serai up
    Run a client against it:   serai exec -- python app.py
    Or set up your shell:      eval "$(serai env)"

    Settings come from flags, then SERAI_* variables (SERAI_PORT, SERAI_DATA_DIR, …), then
    serai.toml in the working directory, then serai.toml in the data directory.
    """


main.add_command(up_command)
main.add_command(status_command)
main.add_command(doctor_command)
main.add_command(accounts_command)
main.add_command(reset_password_command)
main.add_command(env_command)
main.add_command(exec_command)
main.add_command(ca_command)
main.add_command(conformance_command)
main.add_command(signing_keys_command)
main.add_command(images_command)
main.add_command(usage_command)
