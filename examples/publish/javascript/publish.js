// Publishes a CloudEvent to NATS JetStream: node publish.js TYPE USER
import { jetstream } from "@nats-io/jetstream";
import { connect, headers } from "@nats-io/transport-node";
import { CloudEvent, HTTP } from "cloudevents";

const [type, user] = process.argv.slice(2);
const event = new CloudEvent({
  type,
  source: "auth.example.com",
  subject: user,
  datacontenttype: "application/json",
  data: { message: `User ${user}` },
});
const message = HTTP.structured(event);

const client = await connect({ servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222" });
const head = headers();
head.set("content-type", "application/cloudevents+json");
// The stream has the event once this returns. The id lets it drop what is sent twice.
const stored = await jetstream(client).publish("user-operation", message.body, { headers: head, msgID: event.id });
console.log(`stored as ${stored.stream} ${stored.seq}`);
await client.close();
