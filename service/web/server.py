"""The web process: a site and its ledger in; status pages and JSON over HTTP out, read-only.

Nothing is fetched from elsewhere, so that the pages work in a network without a way out. There is no log-in: the
server listens on loopback unless the site says otherwise, and who may reach it is for the network to decide.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from service.config import Site, read_site
from service.disk import disk_watch
from service.ledger import Ledger, open_ledger
from service.observe import event, log_to_stderr
from service.routing.site import rules_fault
from service.submodel import site_submodels
from service.web.json_routes import json_routes
from service.web.models import SiteModels
from service.web.pages import Render, page_routes, renderer

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_app(ledger: Ledger, site: Site) -> FastAPI:
    """The application on an open ledger; raises ConfigurationError where a sub-model's file is wrong."""
    # The interactive documentation of FastAPI loads from a CDN; the description itself stays.
    app = FastAPI(
        title="Sagittal",
        version=version("sagittal"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    render, models, disk = renderer(ledger, site), SiteModels(site), disk_watch(site)
    fault = partial(rules_fault, site, site_submodels(site.models.submodels, site.home))
    app.include_router(json_routes(ledger, models, fault, site.jobs, disk))
    app.include_router(page_routes(ledger, models, fault, render, site.jobs, disk))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    _answer_errors(app, render)

    @app.middleware("http")
    async def add_headers(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await proceed(request)
        response.headers.update(HEADERS)
        return response

    return app


def _answer_errors(app: FastAPI, render: Render) -> None:
    """Programs get JSON, people a page: for what is not there, asked for wrongly, or out of reach."""

    @app.exception_handler(HTTPException)
    async def not_there(request: Request, error: HTTPException) -> Response:
        if _for_programs(request):
            return await http_exception_handler(request, error)
        return render("problem.html", error.status_code, title=error.detail, text="")

    @app.exception_handler(RequestValidationError)
    async def asked_wrongly(request: Request, error: RequestValidationError) -> Response:
        if _for_programs(request):
            return await request_validation_exception_handler(request, error)
        return render("problem.html", 422, title="There is no such view.", text="")

    @app.exception_handler(SQLAlchemyError)
    async def ledger_silent(request: Request, error: SQLAlchemyError) -> Response:
        event(log, logging.ERROR, "the ledger does not answer", path=request.url.path, error=type(error).__name__)
        if _for_programs(request):
            problem = {"status": "ledger does not answer", "detail": "the ledger does not answer"}
            return JSONResponse(problem, 503)
        text = "Series may still be received and worked on. The log of this process says what went wrong."
        return render("problem.html", 503, title="The ledger does not answer.", text=text)


def _for_programs(request: Request) -> bool:
    return request.url.path.startswith(("/api/", "/health"))


def main(site_file: Path) -> None:
    """Serve the pages of a site until SIGTERM or SIGINT."""
    log_to_stderr("web")
    site = read_site(site_file)
    ledger = open_ledger(site.ledger_url, actor="web")
    event(log, logging.INFO, "status page", url=f"http://{site.web.host}:{site.web.port}/")
    uvicorn.run(
        make_app(ledger, site),
        host=site.web.host,
        port=site.web.port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    ledger.close()
