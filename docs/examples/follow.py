#!/usr/bin/env python3
"""Follows vethflow's stream and prints one line a flow: python3 follow.py [URL] [FILTER=VALUE ...]

Needs python3-websockets. Reconnects and goes on behind the last flow that came. With a token in VETHFLOW_TOKEN it is
sent as a header. Ends by itself when the server has sent all that was asked for (last=, since= without follow=true).
"""
import asyncio
import json
import os
import random
import sys
from urllib.parse import urlencode

import websockets

FINAL = {1000, 1002, 1008}  # done, not understood, refused: asking again is no use


def end(endpoint):
    name = endpoint.get("pod") or ",".join(endpoint.get("names", [])) or endpoint.get("ip", "?")
    return f"{name}:{endpoint.get('port', 0)}"


def show(frame):
    if "flow" in frame:
        flow = frame["flow"]
        print(
            flow["time"], flow["event"], flow["protocol"],
            end(flow["source"]), "->", end(flow["destination"]),
            flow.get("verdict", "-"), flow["forward"]["bytes"], flow["reverse"]["bytes"],
            flush=True,
        )
    elif "lost" in frame:
        lost = frame["lost"]
        print(f"lost {lost['count'] or 'some'} {lost.get('unit')} at {lost.get('stage')}", file=sys.stderr)
    elif "error" in frame:
        print(f"{frame['error']['code']}: {frame['error']['message']}", file=sys.stderr)


async def follow(url, query):
    token = os.environ.get("VETHFLOW_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    cursor, tries = None, 0
    while True:
        asked = query if cursor is None else [
            pair for pair in query if pair[0] not in ("last", "since")
        ] + [("cursor", cursor), ("follow", "true")]
        try:
            async with websockets.connect(
                f"{url}?{urlencode(asked)}", subprotocols=["vethflow.v1.json"],
                extra_headers=headers, max_size=4 << 20,
            ) as socket:
                tries = 0
                async for text in socket:
                    frame = json.loads(text)
                    cursor = frame.get("cursor", cursor)
                    show(frame)
            code = socket.close_code
        except websockets.ConnectionClosed as closed:
            code = closed.code
        except OSError as problem:
            print(problem, file=sys.stderr)
            code = 1006
        if code in FINAL:
            return 0 if code == 1000 else 1
        tries += 1
        await asyncio.sleep(min(15, 0.25 * 2**tries) * random.uniform(0.5, 1))


if __name__ == "__main__":
    address = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:4280/v1/flows"
    sys.exit(asyncio.run(follow(address, [tuple(word.split("=", 1)) for word in sys.argv[2:]])))
