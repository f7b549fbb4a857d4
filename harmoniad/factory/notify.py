"""Sending a message to people: to a webhook, or by a notification block of Prefect's."""

import logging
import os
from typing import Any
from urllib.parse import urlsplit

from harmoniad.factory.story import Message
from harmoniad.params import Notify

SECONDS = 20.0


def send(message: Message, notify: Notify) -> list[str]:
    """Send a message wherever `params.yaml` says; no address and no answer of a server is shown, for they hold secrets.

    Returns:
        A line for each way, which begins with `warning` where it failed.
    """
    lines = []
    if notify.webhook:
        lines.append(_to_webhook(message, notify.webhook))
    if notify.prefect_block:
        lines.append(_by_block(message, notify.prefect_block))
    return lines or ["note: nobody was told: `notify` in params.yaml is empty"]


def _to_webhook(message: Message, webhook: str) -> str:
    import httpx

    url = webhook if "://" in webhook else os.environ.get(webhook, "")
    name = f"notify.webhook ({urlsplit(url).hostname if '://' in webhook else webhook})"
    if not url.startswith(("http://", "https://")):
        return f"warning: {name}: the environment variable holds no http:// or https:// address; nobody was told"
    content = {
        "text": message.text,  # what Slack, Mattermost, Teams and others show
        "status": message.status,
        "title": message.title,
        "paragraph": message.paragraph,
        "links": message.links,
    }
    log = logging.getLogger("httpx")
    level = log.level
    log.setLevel(logging.WARNING)  # it would log the whole address
    try:
        answer = httpx.post(url, json=content, timeout=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        return f"warning: {name} was not reached ({type(error).__name__}); nobody was told"
    finally:
        log.setLevel(level)
    if not answer.is_success:
        return f"warning: {name} answered {answer.status_code} {answer.reason_phrase}; nobody was told"
    return f"{name} was told"


def _by_block(message: Message, block: str) -> str:
    name = f"notify.prefect_block ({block})"
    try:
        from prefect.blocks.abstract import NotificationBlock
        from prefect.blocks.core import Block

        found: Any = Block.load(block)
        is_for_notes = isinstance(found, NotificationBlock)
        if not is_for_notes:
            return f"warning: {name} is no notification block; nobody was told"
        with found.raise_on_failure():
            found.notify(body=message.text, subject=message.title)
    except ValueError as error:  # by Prefect, where there is no such block
        return f"warning: {name}: {str(error).splitlines()[0] if str(error) else 'cannot be loaded'}; nobody was told"
    except Exception as error:  # whatever a service raises must not fail the run, and may hold its token
        return f"warning: {name} failed ({type(error).__name__}); nobody was told"
    return f"{name} was told"
