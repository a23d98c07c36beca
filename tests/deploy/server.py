"""fakesnow's server, for the real `snow`: what it does not know is answered by the stand-in of `account.py`.

server.py PORT STATE    # STATE is a folder; `statements.jsonl` there says who answered which statement
"""

import gzip
import json
import sys
from pathlib import Path

import fakesnow.server
import uvicorn
from account import Account, Refused
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

port, folder = int(sys.argv[1]), Path(sys.argv[2])


def record(statement, who):
    with (folder / "statements.jsonl").open("a") as file:
        print(json.dumps({"statement": statement, "who": who}), file=file)


def rows_as_snowflake(rows):
    """An answer in the form of Snowflake's connector: all columns are text."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    column = {
        "nullable": True,
        "type": "text",
        "length": 1000,
        "byteLength": 4000,
        "scale": None,
        "precision": None,
    }
    return {
        "data": {
            "parameters": [],
            "rowtype": [{"name": name, **column} for name in names],
            "rowset": [[None if row.get(name) is None else str(row[name]) for name in names] for row in rows],
            "queryResultFormat": "json",
            "total": len(rows),
            "returned": len(rows),
            "queryId": "01234567-0000-0000-0000-000000000000",
            "statementTypeId": 4096,
        },
        "success": True,
    }


async def query(request):
    body = await request.body()
    text = gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body
    statement = json.loads(text)["sqlText"].strip().rstrip(";")
    account = Account(folder / "account.json")
    try:
        rows = account.execute(statement)
    except Refused as refused:
        record(statement, "stand-in")
        return JSONResponse(
            {
                "data": {"errorCode": "002003", "sqlState": "02000"},
                "code": "002003",
                "message": f"SQL compilation error: {refused}",
                "success": False,
            }
        )
    # A database is fakesnow's, too. It cannot drop one, and the user that it has is no role's.
    if rows is None or statement.startswith("CREATE DATABASE"):
        record(statement, "fakesnow")
        forward = Request(request.scope, receive=lambda: received(body))
        return await fakesnow.server.query_request(forward)
    record(statement, "stand-in")
    return JSONResponse(rows_as_snowflake(rows))


async def received(body):
    return {"type": "http.request", "body": body, "more_body": False}


async def token(request):
    """A token for the image registry, which `snow spcs image-registry token` asks for."""
    return JSONResponse(
        {"data": {"sessionToken": "registry-secret", "validityInSecondsST": 3600}, "success": True}
    )


own = [
    Route("/queries/v1/query-request", query, methods=["POST"]),
    Route("/session/token-request", token, methods=["POST"]),
]
uvicorn.run(
    Starlette(debug=True, routes=own + list(fakesnow.server.routes)),
    host="127.0.0.1",
    port=port,
    log_level="warning",
)
