"""The routes: OpenAI's, and those for people and monitors."""

import asyncio
import contextlib
import dataclasses
import json
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from serving import door, requests
from serving.answers import Answer
from serving.errors import ApiError, failed, invalid
from serving.jobs import Job, Piece

PAGE = Path(__file__).with_name("page.html")
GONE = 499  # what nginx calls a client that did not wait; nobody reads it but the metrics


@dataclasses.dataclass
class Limits:
    """What requests are let in.

    Args:
      api_keys: one of which a request must have; none for all requests.
      max_body_bytes: of a request.
      body_timeout_s: how long a body may take to arrive.
    """

    api_keys: tuple = ()
    max_body_bytes: int = 2**20
    body_timeout_s: float = 30.0


def build(model, engine, limits):
    """The ASGI application.

    Args:
      model: see model.py.
      engine: see engine.py; its metrics are shown and added to.
      limits: Limits.
    """
    api = Api(model, engine, limits)
    app = Starlette(
        routes=[
            Route("/v1/models", api.models),
            Route("/v1/models/{name:path}", api.one_model),
            Route("/v1/completions", api.completions, methods=["POST"]),
            Route("/v1/chat/completions", api.chat, methods=["POST"]),
            Route("/health", api.health),
            Route("/metrics", api.metrics),
            Route("/", api.page),
        ],
        middleware=[Middleware(CountRequests, metrics=engine.metrics)],
        exception_handlers={
            ApiError: lambda request, error: error.response(),
            ClientDisconnect: lambda request, error: Response(status_code=GONE),
            HTTPException: refuse_route,
            Exception: lambda request, error: failed().response(),
        },
    )
    app.router.redirect_slashes = False
    return app


class Api:
    """The routes' functions over one model and its engine."""

    def __init__(self, model, engine, limits):
        self.model = model
        self.engine = engine
        self.limits = limits

    async def models(self, request):
        door.authorize(request, self.limits.api_keys)
        return JSONResponse({"object": "list", "data": [self.model_object()]})

    async def one_model(self, request):
        door.authorize(request, self.limits.api_keys)
        self.check_model(request.path_params["name"])
        return JSONResponse(self.model_object())

    async def completions(self, request):
        return await self.answer(request, "completions")

    async def chat(self, request):
        return await self.answer(request, "chat")

    async def health(self, request):
        stopping = not self.engine.accepting
        return JSONResponse({"status": "stopping" if stopping else "ok"}, 503 if stopping else 200)

    async def metrics(self, request):
        return Response(self.engine.metrics.page(), media_type="text/plain; version=0.0.4")

    async def page(self, request):
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    async def answer(self, request, kind):
        door.authorize(request, self.limits.api_keys)
        body = await door.read_object(
            request, self.limits.max_body_bytes, self.limits.body_timeout_s
        )
        if not isinstance(body.get("model"), str):
            raise invalid("model must be the name of one of /v1/models", "model")
        self.check_model(body["model"])
        asked = requests.read(kind, body, self.engine.max_batch_size, self.engine.max_queue)
        # Known before the prompts are read, which may take long.
        self.engine.check_room(0 if asked.max_tokens == 0 else len(asked.prompts or [None]))
        jobs, answer = await run_in_threadpool(self.prepare, asked)
        self.engine.metrics.prompt_tokens.inc(answer.prompt_tokens)
        pieces = self.pieces(jobs)
        if not asked.stream:
            everything = await attached(request, collect(pieces))
            return JSONResponse(answer.whole(everything))
        # Until here what goes wrong has a status of its own.
        first = await attached(request, anext(pieces))
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        stream = events(answer, first, pieces)
        return StreamingResponse(stream, headers=headers, media_type="text/event-stream")

    def prepare(self, asked):
        """A job for each prompt, and the answer they go into."""
        prompts, field, stop = asked.prompts, "prompt", asked.stop
        if asked.messages is not None:
            prompts, field = [self.model.chat_prompt(asked.messages)], "messages"
            stop += self.model.chat.stops
        prepared = [
            self.model.prepare(prompt, asked.max_tokens, asked.truncate, field)
            for prompt in prompts
        ]
        jobs = [
            Job(
                prompt=text,
                settings={
                    **asked.settings,
                    "max_new_tokens": max_new_tokens,
                    "top_logprobs": asked.alternatives or 0,
                },
                n=asked.n,
                stop=stop,
                alternatives=asked.alternatives,
                first_index=i * asked.n,
            )
            for i, (text, _, max_new_tokens) in enumerate(prepared)
        ]
        texts, counts, _ = zip(*prepared, strict=True)
        return jobs, Answer(asked, self.model, texts, sum(counts))

    async def pieces(self, jobs):
        """What the engine delivers for jobs, until all are complete; they end with this."""
        loop = asyncio.get_running_loop()
        queue = asyncio.Queue()

        def deliver(event):
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(queue.put_nowait, event)

        started = [job for job in jobs if job.settings["max_new_tokens"] > 0]
        for job in started:
            job.deliver = deliver
        try:
            self.engine.submit(started)
            for job in jobs:
                if job not in started:
                    for i in range(job.n):
                        yield Piece(job.first_index + i, "", [], "length", 0)
            unfinished = sum(job.n for job in started)
            while unfinished:
                event = await queue.get()
                if isinstance(event, ApiError):
                    raise event
                unfinished -= event.finish_reason is not None
                yield event
        finally:
            self.engine.cancel(started)

    def check_model(self, name):
        if name != self.model.name:
            raise ApiError(
                404,
                f"there is no model {name[:200]!r} here; this server has {self.model.name!r}",
                "model",
                "model_not_found",
            )

    def model_object(self):
        return {
            "id": self.model.name,
            "object": "model",
            "created": self.model.created,
            "owned_by": "menagerie",
            "max_model_len": self.model.description.max_length,
        }


async def collect(pieces):
    return [piece async for piece in pieces]


async def events(answer, first, pieces):
    """The server-sent events of an answer."""
    try:
        for chunk in answer.opening():
            yield event(chunk)
        yield event(answer.piece(first))
        async for piece in pieces:
            yield event(answer.piece(piece))
        for chunk in answer.closing():
            yield event(chunk)
        yield "data: [DONE]\n\n"
    except ApiError as error:
        yield event(error.body())
    finally:
        await pieces.aclose()


def event(value):
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


async def attached(request, work):
    """Awaits work, for as long as the client waits for it.

    Raises:
      ClientDisconnect: it does not; the work is cancelled.
    """
    work = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        work.cancel()
        gone.cancel()


async def disconnected(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass


def refuse_route(request, error):
    path = f"{request.method} {request.url.path[:200]}"
    messages = {
        404: f"{path}: there is nothing here",
        405: f"{path}: this address takes other methods",
    }
    message = messages.get(error.status_code, str(error.detail))
    return ApiError(error.status_code, message, headers=error.headers).response()


class CountRequests:
    """ASGI middleware: counts answers by endpoint and status."""

    def __init__(self, app, metrics):
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = GONE

        async def counting_send(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, counting_send)
        except Exception:
            status = 500
            raise
        finally:
            route = scope.get("route")
            endpoint = route.path if route else "other"
            self.metrics.requests.labels(endpoint, status).inc()
