"""A web application with an engine inside: FastAPI takes orders, Durably sees them through.

    pip install durably fastapi uvicorn
    uvicorn examples.web_app:app

    curl -X PUT -H 'Content-Type: application/json' -d '{"item": "tea", "cents": 450}' http://127.0.0.1:8000/orders/o-1
    curl http://127.0.0.1:8000/orders/o-1
    curl -X POST http://127.0.0.1:8000/orders/o-1/payment

Kill it before the payment and start it again: the order still waits for it. While it runs, `durably runs` and
`durably show o-1` look at the same engine, on port 8484.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from durably import Engine, RunConflict, RunNotFound, step, wait_for_signal, workflow


class Order(BaseModel):
    item: str
    cents: int


@step
async def reserve(item: str) -> str:
    print(f"reserving {item}")
    return f"one {item}"


@step
async def ship(reserved: str) -> str:
    print(f"shipping {reserved}")
    return f"{reserved} is on its way"


@workflow
async def fulfil(order: Order) -> str:
    reserved = await reserve(order.item)
    await wait_for_signal("paid")  # for as long as it takes, over restarts too
    return await ship(reserved)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with Engine(os.environ.get("DURABLY_STORE", "sqlite:///orders.db"), workflows=[fulfil]) as engine:
        await engine.serve_http(port=int(os.environ.get("DURABLY_PORT", "8484")))  # for `durably show` and the like
        app.state.engine = engine
        yield


app = FastAPI(lifespan=lifespan)


def engine_of(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


Running = Annotated[Engine, Depends(engine_of)]


@app.put("/orders/{number}", status_code=202)
async def place(number: str, order: Order, engine: Running) -> dict[str, Any]:
    run = await engine.start(fulfil, order, run_id=number)  # the same order twice is one run
    return {"number": run.id}


@app.get("/orders/{number}")
async def look(number: str, engine: Running) -> dict[str, Any]:
    info = await (await engine.get_run(number)).info()
    return {"number": number, "status": info.status, "order": info.input["order"], "result": info.output}


@app.post("/orders/{number}/payment", status_code=202)
async def pay(number: str, engine: Running) -> dict[str, Any]:
    await (await engine.get_run(number)).signal("paid")
    return {"number": number}


@app.exception_handler(RunNotFound)
async def not_found(request: Request, error: RunNotFound) -> JSONResponse:
    return JSONResponse({"detail": f"{request.url.path}: {error}"}, status_code=404)


@app.exception_handler(RunConflict)  # another order of this number, or one that is settled
async def conflict(request: Request, error: RunConflict) -> JSONResponse:
    return JSONResponse({"detail": f"{request.url.path}: {error}"}, status_code=409)
