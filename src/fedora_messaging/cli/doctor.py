"""``fedora-messaging doctor``: finds what is wrong with a configuration, or soon will be."""

import asyncio
import json
import logging

import click

from .. import config
from ..printable import printable
from .doctor_broker import ask_brokers
from .doctor_settings import FAILURE, WARNING, check_settings
from .terminal import table


@click.command()
@click.option("--callback", help='Also check this callback, "my_package.module:callable_object".')
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def doctor(callback: str | None, as_json: bool) -> None:
    """Check the configuration and the way to the broker.

    This command changes nothing. Each line is "ok", "warning" or "failure" and says what was checked.
    Warnings do not stop the program today. Exits with 1 if there is a failure.
    """
    # Logs would go to standard output, which is for the findings only.
    logging.getLogger("fedora_messaging").setLevel(logging.CRITICAL)
    findings = [*check_settings(config.conf, callback), *asyncio.run(ask_brokers(config.conf))]
    kinds = {finding.kind for finding in findings}
    verdict = FAILURE if FAILURE in kinds else WARNING if WARNING in kinds else "ok"
    if as_json:
        told = [{"result": kind, "text": printable(text, 1000)} for kind, text in findings]
        click.echo(json.dumps({"result": verdict, "findings": told}))
    else:
        with table("result", "what was found", between="  ") as show_row:
            for kind, text in findings:
                show_row((f"{kind:7}", text))
    if verdict == FAILURE:
        raise SystemExit(1)
