"""The test endpoint with a batch interface beside the chat: files up, batches, results down, by the same rules.

python tests/helpers/batch_server.py --port 8099 --log asked.jsonl
"""

import asyncio
import json
import sys
from pathlib import Path

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.helpers.teacher_server import PASSING, Server, _error, main


class BatchServer(Server):
    """`looks` is how often a batch is looked at before it is done. `lose` names calls whose first answer gets lost
    after the work is done: "create" or "content"; `expire` is how many results the first batch leaves out; `refuse` is
    what makes every batch fail. `limit` is the longest page of the list of batches.
    """

    def __init__(self, looks=1, lose=(), expire=0, refuse=None, limit=2, **settings):
        super().__init__(**settings)
        self.looks, self.lose, self.expire, self.refuse, self.limit = looks, list(lose), expire, refuse, limit
        self.files, self.batches, self.held = {}, {}, asyncio.Event()

    def app(self):
        app = super().app()
        app.router.add_post("/v1/files", self.upload)
        app.router.add_get("/v1/files/{id}/content", self.content)
        app.router.add_post("/v1/batches", self.create)
        app.router.add_get("/v1/batches", self.list)
        app.router.add_get("/v1/batches/{id}", self.retrieve)
        return app

    async def upload(self, request):
        form = await request.post()
        assert form["purpose"] == "batch"
        return web.json_response(self.store(form["file"].file.read()))

    def store(self, content):
        id = f"file-{len(self.files)}"
        self.files[id] = content
        return {"id": id, "object": "file", "bytes": len(content), "created_at": 0, "filename": id,
                "purpose": "batch", "status": "processed"}  # fmt: skip

    async def create(self, request):
        asked = await request.json()
        assert asked["endpoint"] == "/v1/chat/completions" and asked["completion_window"] == "24h"
        id = f"batch-{len(self.batches)}"
        self.batches[id] = {"id": id, "object": "batch", "created_at": 0, "status": "validating", "looked": 0, **asked}
        return await self.lost("create", request) or web.json_response(self.batches[id])

    async def lost(self, call, request):
        if call not in self.lose:
            return None
        self.lose.remove(call)
        request.transport.close()
        return web.Response()

    async def list(self, request):
        known = list(self.batches.values())[::-1]
        start = next((n + 1 for n, batch in enumerate(known) if batch["id"] == request.query.get("after")), 0)
        page = known[start : start + self.limit]
        more = start + self.limit < len(known)
        return web.json_response({"object": "list", "data": page, "has_more": more})

    async def retrieve(self, request):
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return _error(404, "no such batch")
        batch["looked"] += 1
        if batch["status"] == "validating" and batch["looked"] >= self.looks:
            self.work(batch)
        return web.json_response(batch)

    def work(self, batch):
        if self.refuse:
            errors = {"object": "list", "data": [{"code": "invalid", "message": self.refuse, "line": 1}]}
            batch |= {"status": "failed", "errors": errors}
            return
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        left_out, self.expire = self.expire, 0
        done, failed = [], []
        for number, line in enumerate(lines):
            payload = line["body"]
            if number < left_out:
                failed.append({"custom_id": line["custom_id"], "response": None, "error": {"code": "batch_expired"}})
                continue
            fault = self.fault(payload)
            status, body = 200, None
            if not self.schema and "response_format" in payload:
                status, body = 400, {"error": {"message": "unknown field response_format", "code": None}}
            elif fault in PASSING:
                status, body = 500, {"error": {"message": "internal"}}
            self.write(payload, fault if status == 200 and fault else "answered" if status == 200 else f"{status}")
            if status == 200:
                self.done += 1
                body = self.completion(payload, fault)
                if fault == "huge":
                    body["choices"][0]["message"]["content"] = "x" * 300_000
            (done if status == 200 else failed).append(
                {"custom_id": line["custom_id"], "response": {"status_code": status, "body": body}, "error": None}
            )
        for name, rows in (("output_file_id", done[::-1]), ("error_file_id", failed)):
            if rows:
                batch[name] = self.store("".join(json.dumps(row) + "\n" for row in rows).encode())["id"]
        batch["status"] = "expired" if left_out else "completed"

    async def content(self, request):
        if lost := await self.lost("content", request):
            return lost
        return web.Response(body=self.files[request.match_info["id"]], content_type="application/octet-stream")


if __name__ == "__main__":
    main(BatchServer)
