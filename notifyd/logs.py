"""Logging for the server process: JSON lines or readable text on standard error, one line an event."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import Processor

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
#: Names under which a secret could be handed to a log call by mistake.
_SECRET_NAMES = frozenset(
    {"token", "ticket", "key", "secret", "authorization", "cookie", "query", "password"}
)


class _StandardError(io.StringIO):
    """Whatever is standard error when a line is written, which tests and daemons exchange."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


_standard_error = _StandardError()


def configure_logging(level: str, log_format: str) -> None:
    """Set up structlog for this process, and let the libraries' own warnings come out the same way."""
    renderer: Processor
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        # The default formatter shows local variables where rich is installed, and with them tokens.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    if log_format == "json":
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=_standard_error),
        cache_logger_on_first_use=False,  # or a logger would outlive its configuration
    )
    handler = logging.StreamHandler(_standard_error)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=max(_LEVELS[level], logging.WARNING), handlers=[handler], force=True)


def hide_secrets(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Last line of defence: whatever is bound under the name of a secret is not written."""
    for name in _SECRET_NAMES & event.keys():
        event[name] = "[hidden]"
    return event
