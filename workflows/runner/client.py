"""Talking to a running ComfyUI: what it has, uploading a picture, running a graph."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from tqdm import tqdm

from .errors import RunError
from .graphs import Graph, title
from .messages import failure, refusals

ENDINGS = ("execution_success", "execution_error", "execution_interrupted")


@dataclass(frozen=True)
class Picture:
    """An image that a run has saved: the title of its node, its file name, its bytes."""

    node: str
    name: str
    data: bytes


class Client:
    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def object_info(self) -> dict[str, Any]:
        """Every node class with its inputs and the choices of its combos."""
        return asyncio.run(self._get_json("/object_info"))

    def upload(self, name: str, data: bytes) -> str:
        """Put a picture into ComfyUI's input folder; returns the name that LoadImage takes."""
        return asyncio.run(self._upload(name, data))

    def run(self, graph: Graph, progress: bool = True) -> list[Picture]:
        """Run the graph to its end; every picture that a SaveImage node has written."""
        return asyncio.run(self._run(graph, progress))

    async def _run(self, graph: Graph, progress: bool) -> list[Picture]:
        client_id = uuid.uuid4().hex
        async with self._session() as session:
            socket = await session.ws_connect("/ws", params={"clientId": client_id}, max_msg_size=0)
            async with socket:
                job = await self._queue(session, graph, client_id)
                # None: only where a person watches
                with tqdm(total=len(graph), disable=None if progress else True, leave=False) as bar:
                    try:
                        blocked = await follow(socket, job, progress_shower(bar, graph))
                    except asyncio.CancelledError:  # Ctrl-C
                        await self._cancel(session, job)
                        raise
            outputs = await self._finished(session, graph, job)
            pictures = [
                Picture(title(graph, node), image["filename"], await self._view(session, image))
                for node, output in outputs.items()
                for image in output.get("images", [])
                if image.get("type") == "output"
            ]
        lines = [failure(graph, error) for error in blocked]
        if lines and not pictures:
            raise RunError("\n".join(lines))
        for line in lines:
            print(line, file=sys.stderr)
        return pictures

    async def _queue(self, session: aiohttp.ClientSession, graph: Graph, client_id: str) -> str:
        body = {"prompt": graph, "client_id": client_id}
        async with session.post("/prompt", json=body) as response:
            answer = await response.json()
        if response.status == 200 and not answer.get("node_errors"):
            return answer["prompt_id"]
        if response.status == 200:  # ComfyUI runs what else the graph has
            await self._cancel(session, answer["prompt_id"])
        raise RunError("\n".join(refusals(graph, answer)))

    async def _cancel(self, session: aiohttp.ClientSession, job: str) -> None:
        """Take a job out of the queue, or stop it if it is the one that runs."""
        await session.post("/queue", json={"delete": [job]})
        await session.post("/interrupt", json={"prompt_id": job})

    async def _finished(self, session: aiohttp.ClientSession, graph: Graph, job: str) -> dict:
        """The outputs of a run, by node; ComfyUI files them a moment after its last event."""
        while True:
            async with session.get(f"/api/jobs/{job}") as response:
                record = await response.json() if response.status == 200 else {}
            if not record:  # a ComfyUI that has no such list, or a server in front of it
                async with session.get(f"/history/{job}") as response:
                    record = as_job((await response.json()).get(job))
            if record.get("status") == "completed":
                return record["outputs"]
            if record.get("status") == "cancelled":
                raise RunError("the run was cancelled")
            if record.get("status") == "failed":
                raise RunError(failure(graph, record["execution_error"]))
            await asyncio.sleep(0.1)

    async def _view(self, session: aiohttp.ClientSession, image: dict[str, str]) -> bytes:
        query = {key: image[key] for key in ("filename", "subfolder", "type")}
        async with session.get("/view", params=query) as response:
            return await response.read()

    async def _upload(self, name: str, data: bytes) -> str:
        form = aiohttp.FormData()
        form.add_field("image", data, filename=name)
        form.add_field("overwrite", "true")
        async with self._session() as session, session.post("/upload/image", data=form) as response:
            if response.status != 200:
                raise RunError(f"{self.url} did not take the picture {name} ({response.status})")
            return (await response.json())["name"]

    async def _get_json(self, path: str) -> Any:
        async with self._session() as session, session.get(path) as response:
            response.raise_for_status()
            return await response.json()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        try:
            async with aiohttp.ClientSession(self.url, timeout=timeout) as session:
                yield session
        except (aiohttp.ClientError, asyncio.TimeoutError, json.JSONDecodeError) as error:
            raise RunError(f"no ComfyUI answers at {self.url} ({error})") from error


async def follow(
    socket: aiohttp.ClientWebSocketResponse, job: str, show: Callable[[str, dict], None]
) -> list[dict]:
    """Hand on the events of one job until it ends; binary previews are passed over.

    The errors of nodes that were blocked: a node before them gave no value, and the job went on.
    """
    blocked: list[dict] = []
    async for message in socket:
        if message.type != aiohttp.WSMsgType.TEXT:
            continue
        event = message.json()
        if event["data"].get("prompt_id") == job:
            show(event["type"], event["data"])
            if event["data"].get("exception_type") == "ExecutionBlocked":
                blocked.append(event["data"])
            elif event["type"] in ENDINGS:
                break
    return blocked


def progress_shower(bar: tqdm, graph: Graph) -> Callable[[str, dict], None]:
    """One step of the bar for each node, in parts where a node tells how far it is."""
    cached: set[str] = set()

    def show(event: str, data: dict) -> None:
        if event == "execution_cached":
            cached.update(data["nodes"])
        if event == "progress_state":
            nodes = data["nodes"]
            done = sum(node["value"] / max(node["max"], 1) for node in nodes.values())
            running = [node for node in nodes.values() if node["state"] == "running"]
            bar.n = min(round(len(cached - nodes.keys()) + done, 2), len(graph))
            bar.set_description(", ".join(title(graph, node["node_id"]) for node in running))

    return show


def as_job(entry: dict | None) -> dict[str, Any]:
    """An entry of /history in the form of /api/jobs."""
    if entry is None:
        return {}
    events = dict(entry["status"]["messages"])
    if "execution_error" in events:
        return {"status": "failed", "execution_error": events["execution_error"]}
    status = "cancelled" if "execution_interrupted" in events else "completed"
    return {"status": status, "outputs": entry["outputs"]}
