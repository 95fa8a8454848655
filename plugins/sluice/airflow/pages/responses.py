"""HTML responses: rendered templates, error pages, security headers, correlation ids."""

import secrets
import uuid
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from markdown_it import MarkdownIt
from markupsafe import Markup

from sluice.airflow.dag_ids import dag_id
from sluice.errors import PlanError, SluiceError
from sluice.report.html import render

TEMPLATES = Path(__file__).parent / "templates"
CORRELATION_HEADER = "X-Correlation-ID"


def root_path(request: Request) -> str:
    """Where the pages are mounted."""
    return str(request.scope.get("root_path", ""))


def render_page(request: Request, template: str, **values: Any) -> HTMLResponse:
    """A page in the frame that all pages share."""
    nonce, root = secrets.token_urlsafe(16), root_path(request)
    values |= {"root": root, "api": f"{root.removesuffix('/sluice')}/api/v2", "nonce": nonce}
    html = render(template, folder=TEMPLATES, dag_of=dag_id, **values)
    return HTMLResponse(html, headers=security_headers(nonce))


def message_page(text: str, status: int) -> HTMLResponse:
    """A page that only has a sentence."""
    body = (
        "<!doctype html><meta charset=utf-8><meta name=color-scheme content='light dark'>"
        f"<p style='font-family:sans-serif'>{escape(text)}"
    )
    return HTMLResponse(body, status_code=status, headers=security_headers())


def security_headers(nonce: str = "") -> dict[str, str]:
    """Nothing is loaded from elsewhere, and only the page's own scripts run.

    Args:
        nonce: of the page's scripts; empty for a page without scripts.
    """
    own = f"; style-src 'unsafe-inline' 'self'; script-src 'nonce-{nonce}'; connect-src 'self'"
    allowed = own if nonce else "; style-src 'unsafe-inline'"
    return {
        "Content-Security-Policy": "default-src 'none'; form-action 'self'; base-uri 'none';"
        f" frame-ancestors 'self'{allowed}",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def markdown(text: str) -> Markup:
    """Markdown as HTML; HTML within it is shown as text."""
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return Markup(html)  # noqa: S704 - the renderer has escaped it


def add_error_pages(app: FastAPI) -> None:
    """Show known errors as a sentence."""

    @app.exception_handler(SluiceError)
    def show_error(request: Request, error: SluiceError) -> HTMLResponse:
        status = 404 if isinstance(error, PlanError) else 503
        return message_page(f"This cannot be shown: {error}", status)


def add_correlation_ids(app: FastAPI) -> None:
    """Give every response a correlation id: that of the message it is about, or the request's."""

    @app.middleware("http")
    async def correlate(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        header = request.headers.get(CORRELATION_HEADER, "")
        usable = header.isascii() and header.isprintable() and len(header) <= 200
        response.headers.setdefault(
            CORRELATION_HEADER, header if header and usable else str(uuid.uuid4())
        )
        return response
