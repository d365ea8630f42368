"""An API of nothing but the read side, on rows that the tests put into the read tables themselves."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response

from access.guard import OpenGuard
from contract.problems import Problem
from query import orders, products, users
from query.database import Reads
from query.sync import Sync
from readmodel.shop import METADATA as SHOP
from tests.query.rows import Rows


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def rows(database_url: str) -> Rows:
    return Rows(database_url)


@pytest.fixture
async def reads(anyio_backend: str, database_url: str) -> AsyncIterator[Reads]:
    async with Reads(database_url) as reads:
        yield reads


@pytest.fixture
async def api(reads: Reads) -> AsyncIterator[httpx.AsyncClient]:
    sync = Sync.of_tables(reads, SHOP)
    async with client_of(application(*(side.router(reads, sync) for side in (users, products, orders)))) as client:
        yield client


def application(*routers: APIRouter) -> FastAPI:
    """An API of these routes, taken one by one as service/app.py does."""
    app = FastAPI()
    app.state.guard = OpenGuard()
    for router in routers:
        app.router.routes.extend(router.routes)

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response()

    return app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://orders")
