"""Publishes a CloudEvent to NATS JetStream: python3 publish.py TYPE USER"""

import asyncio
import os
import sys
from datetime import datetime, timezone
from uuid import uuid4

import nats
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent


async def main(type_: str, user: str) -> None:
    event = CloudEvent(
        {
            "specversion": "1.0",
            "id": str(uuid4()),
            "type": type_,
            "source": "auth.example.com",
            "subject": user,
            "time": datetime.now(timezone.utc),
            "datacontenttype": "application/json",
        },
        {"message": f"User {user}"},
    )
    client = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    # The stream has the event once this returns. The id lets it drop what is sent twice.
    stored = await client.jetstream().publish(
        "user-operation",
        JSONFormat().write(event),
        headers={"content-type": "application/cloudevents+json", "Nats-Msg-Id": event.get_id()},
    )
    print(f"stored as {stored.stream} {stored.seq}")
    await client.close()


asyncio.run(main(*sys.argv[1:3]))
