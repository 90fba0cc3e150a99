// Sends a notification, prints its id and what became of it, and reads an error.
//
//   npm install && npm start
//
// Nothing is generated: proto-loader reads the contracts' descriptor set.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const DESCRIPTORS = new URL(
  "../../packages/contracts/src/clarion/api/descriptors.binpb",
  import.meta.url,
);
// keepCase: the names of the contract. longs: 64 bits do not fit into a number.
const definition = loader.loadFileDescriptorSetFromBuffer(
  readFileSync(DESCRIPTORS),
  { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true },
);
const { clarion } = grpc.loadPackageDefinition(definition);

/** What Clarion says about a call that it refused. */
class ApiError extends Error {
  constructor(error) {
    super(error.details, { cause: error });
    this.code = grpc.status[error.code];
    this.reason = ""; // switch on this; messages may change
    this.violations = [];
    this.retryAfter = undefined; // milliseconds
    const [raw] = error.metadata?.get("grpc-status-details-bin") ?? [];
    for (const any of raw ? decode("google.rpc.Status", raw).details : []) {
      const name = any.type_url.split("/").pop();
      if (name === "google.rpc.ErrorInfo") {
        this.reason = decode(name, any.value).reason;
      } else if (name === "google.rpc.BadRequest") {
        this.violations = decode(name, any.value).field_violations;
      } else if (name === "google.rpc.RetryInfo") {
        const { seconds, nanos } = decode(name, any.value).retry_delay;
        this.retryAfter = Number(seconds) * 1000 + nanos / 1e6;
      }
    }
  }

  /** RESOURCE_EXHAUSTED alone does not pass: a request that is too large stays so. */
  get retryable() {
    return this.code === "UNAVAILABLE" || this.reason === "OVERLOADED";
  }
}

function decode(name, bytes) {
  return definition[name].deserialize(bytes);
}

/** Repeats a call that is safe to repeat; each attempt has 15 s, all together 30 s. */
async function patiently(client, method, request) {
  const giveUp = Date.now() + 30_000;
  for (let wait = 100; ; wait = Math.min(2 * wait, 2000)) {
    try {
      return await unary(client, method, request);
    } catch (error) {
      const pause = error.retryAfter ?? wait * (0.5 + Math.random() / 2);
      if (!error.retryable || Date.now() + pause > giveUp) throw error;
      await sleep(pause);
    }
  }
}

function unary(client, method, request) {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${key}`);
  return new Promise((resolve, reject) => {
    client[method](request, metadata, { deadline: Date.now() + 15_000 }, (error, answer) =>
      error ? reject(new ApiError(error)) : resolve(answer),
    );
  });
}

/** A google.protobuf.Struct. From a descriptor set, maps are lists of key and value. */
function struct(object) {
  const fields = Object.entries(object);
  return { fields: fields.map(([key, one]) => ({ key, value: value(one) })) };
}

function value(one) {
  if (one === null) return { null_value: "NULL_VALUE" };
  if (Array.isArray(one)) return { list_value: { values: one.map(value) } };
  if (typeof one === "object") return { struct_value: struct(one) };
  if (typeof one === "boolean") return { bool_value: one };
  if (typeof one === "number") return { number_value: one };
  return { string_value: String(one) };
}

async function fetchRecord(notification_id) {
  return (await patiently(tracking, "GetNotification", { notification_id })).notification;
}

/** A google.protobuf.Timestamp. */
function timestamp(date) {
  const milliseconds = date.getTime();
  return {
    seconds: Math.floor(milliseconds / 1000),
    nanos: (((milliseconds % 1000) + 1000) % 1000) * 1e6,
  };
}

const key = readFileSync(process.env.CLARION_KEY_FILE, "utf8").trim();
// In production: grpc.credentials.createSsl().
const connection = [process.env.CLARION_TARGET, grpc.credentials.createInsecure()];
const notifications = new clarion.api.router.v1.NotificationService(...connection);
const tracking = new clarion.api.tracking.v1.TrackingService(...connection);

const sent = await patiently(notifications, "SendNotification", {
  notification: {
    user_id: "user_1",
    type: "order_confirmation",
    title: "Order confirmed",
    message: "Your order 12345 is on its way",
    channels: ["push", "in_app"],
    data: struct({ order_id: "12345", amount: 99.99, gift: false, items: ["a", 2, null] }),
    expires_at: timestamp(new Date(Date.now() + 3_600_000)),
    // Store such a key with the order before sending; then a repeated run sends nothing twice.
    idempotency_key: `order-12345-${randomUUID()}`,
  },
});
console.log("sent", sent.notification_id, sent.status);

let notification = await fetchRecord(sent.notification_id);
for (let polls = 0; notification.status === "processing" && polls < 50; polls++) {
  await sleep(200);
  notification = await fetchRecord(sent.notification_id);
}
console.log("state", notification.status);
for (const delivery of notification.deliveries) {
  console.log(" ", delivery.channel, delivery.status, delivery.reason);
}

try {
  await patiently(notifications, "SendNotification", {
    notification: { type: "order_confirmation", title: "To nobody", message: "-" },
  });
} catch (error) {
  console.log("refused", error.code, error.reason, error.violations);
}
notifications.close();
tracking.close();
