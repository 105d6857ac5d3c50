"""Finds and loads the callback that the user names."""

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any, Final

import click

from .. import config
from ..logs import CLI, logger
from .seams import seam

_log = logger(CLI)

#: Modules that version 3.9 required and this version does not, with the distributions that contain them.
UNDECLARED: Final = {
    "OpenSSL": "pyOpenSSL",
    "crochet": "crochet",
    "pika": "pika",
    "requests": "requests",
    "service_identity": "service-identity",
    "twisted": "fedora-messaging[twisted]",
}
#: Files whose stack frames do not help to explain why a callback cannot be imported.
_IMPORTING: Final = (__file__, importlib.__file__)

_PATH_FORMAT = '"my_package.module:callable_object"'


def load_callback(callback: str | None, callback_file: str | None) -> Any:
    """Load the callback that ``--callback-file``, ``--callback`` or the configuration names, in this order.

    Raises:
        click.ClickException: None of them names a callback, or it cannot be loaded.
    """
    if callback_file:
        return seam("_callback_from_filesystem")(callback_file)
    provider = "--callback argument" if callback else "configuration file"
    path = callback or config.conf["callback"]
    if not path:
        raise click.ClickException(
            "A Python path to a callable object that accepts the message must be provided"
            ' with the "--callback" command line option or in the configuration file'
        )
    loaded = seam("_callback_from_python_path")(path, provider)
    _log.info("Starting consumer with %s callback", path)
    return loaded


def callback_from_path(path: str, provider: str) -> Any:
    """Import ``module:object``.

    Installed packages come before the current directory.

    Raises:
        click.ClickException: It cannot be imported.
    """
    path = path.strip()
    module_name, _, name = path.partition(":")
    if path.count(":") != 1:
        raise click.ClickException(
            f"Unable to parse the callback path ({path}); the expected format is {_PATH_FORMAT}"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        _log_traceback(module_name)
        raise click.ClickException(
            f"Failed to import the callback module ({error}) provided in the {provider}"
            f"{_place(error) or _hint(module_name, name)}{_undeclared(error)}"
        ) from error
    except (Exception, SystemExit) as error:
        _log_traceback(module_name)
        raise click.ClickException(
            f"The callback module {module_name} raised {type(error).__name__} when it was imported: {error}"
            f"{_place(error)}"
        ) from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise click.ClickException(
            f"Unable to import {path} ({error}); is the package installed? The python path should be in the "
            f"format {_PATH_FORMAT}"
        ) from error


def _hint(module_name: str, name: str) -> str:
    """Suggest which module or object the user may have meant."""
    if module_name.endswith(".py"):
        meant = module_name.removesuffix(".py").replace("/", ".")
        return f'; write "{meant}:{name}", or --callback-file "{module_name}:{name}"'
    return f"; it was looked for among installed packages and in {Path.cwd()}"


def _place(error: BaseException) -> str:
    """Say where in the application's code an import failed, if the failure is there."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_file():
        return f"; see {error.filename}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename not in _IMPORTING and not frame.filename.startswith("<frozen importlib"):
            return f"; see {frame.filename}, line {frame.lineno}"
    return ""


def _undeclared(error: BaseException) -> str:
    """Say what to do if a module is missing that version 3.9 installed."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ""
    name = error.name.partition(".")[0]
    return f"; {undeclared_text(name)}" if name in UNDECLARED else ""


def undeclared_text(name: str) -> str:
    """Say how a program gets a module that version 3.9 installed."""
    distribution = UNDECLARED[name]
    return (
        f"version 3.9 installed {distribution} with it, this one does not: name {distribution} in the "
        f"requirements of your program, and install it (pip install '{distribution}')"
    )


def _log_traceback(what: str) -> None:
    _log.debug("The callback's %s failed when it was loaded", what, exc_info=True)


def callback_from_file(path: str) -> Any:
    """Execute ``file.py:object``.

    Raises:
        click.ClickException: The file cannot be read or executed, or lacks the object.
    """
    path = path.strip()
    file_name, _, name = path.partition(":")
    if path.count(":") != 1:
        raise click.ClickException(
            "Unable to parse the '--callback-file' option; the expected format is "
            '"path/to/file.py:callable_object" where "callable_object" is the name of the function or class '
            "in the Python file"
        )
    namespace: dict[str, Any] = {}
    try:
        source = Path(file_name).read_bytes()
    except OSError as error:
        raise click.ClickException(f"An IO error occurred: {error}") from error
    try:
        exec(compile(source, file_name, "exec"), namespace)  # noqa: S102 - the user asked for it
    except (Exception, SystemExit) as error:
        _log_traceback(file_name)
        raise click.ClickException(
            f"The {file_name} file raised the following exception during execution: {error}"
            f" ({type(error).__name__}){_place(error)}{_undeclared(error)}"
        ) from error
    if name not in namespace:
        raise click.ClickException(f"The '{name}' object was not found in the '{file_name}' file.")
    return namespace[name]
