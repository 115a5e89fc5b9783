"""Log lines of the operator: JSON for machines, text for people."""

import logging

from pythonjsonlogger.json import JsonFormatter

QUIET = ("kopf", "kubernetes", "aiohttp", "asyncio")


def configure(log_format: str) -> None:
    """Send everything to standard error; kopf logs every event at INFO, so it may only warn."""
    handler = logging.StreamHandler()
    if log_format == "json":
        handler.setFormatter(JsonFormatter("{asctime}{levelname}{name}{message}", style="{"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
