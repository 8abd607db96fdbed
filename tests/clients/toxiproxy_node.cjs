// toxiproxy-node-client 4.1.0 from npm, as its documentation uses it.
const assert = require("node:assert/strict");
const net = require("node:net");
const { Toxiproxy } = require("toxiproxy-node-client");

const server = new Toxiproxy(`http://${process.argv[2]}`);

const roundTrip = (proxy) =>
  new Promise((resolve, reject) => {
    const began = performance.now();
    const [host, port] = proxy.listen.split(":");
    const socket = net.connect(Number(port), host, () => socket.write("ping"));
    socket.on("data", () => {
      resolve(performance.now() - began);
      socket.destroy();
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("closed")));
  });

const main = async () => {
  const echo = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  await new Promise((listening) => echo.listen(0, "127.0.0.1", listening));
  const upstream = `127.0.0.1:${echo.address().port}`;

  assert.match(await server.getVersion(), /^\{"version": "2\.\d+\.\d+"\}\n$/);
  const proxy = await server.createProxy({ name: "echo", listen: "localhost:0", upstream });
  assert.match(proxy.listen, /^127\.0\.0\.1:\d+$/);
  await assert.rejects(server.createProxy({ name: "echo", listen: "localhost:0", upstream }), /409/);
  await assert.rejects(server.createProxy({ name: "", listen: "localhost:0", upstream }), /400/);
  await assert.rejects(server.createProxy({ name: "same", listen: proxy.listen, upstream }), /500/);
  assert.equal((await server.get("echo")).upstream, upstream);
  await assert.rejects(server.get("nobody"), /404/);
  await roundTrip(proxy);

  const toxic = await proxy.addToxic({
    name: "slow", type: "latency", stream: "downstream", toxicity: 1, attributes: { latency: 200, jitter: 0 },
  });
  assert.ok((await roundTrip(proxy)) >= 200);
  // The whole toxic is sent, with what cannot be changed.
  const updated = await toxic.update({ ...toxic.toJson(), attributes: { latency: 400, jitter: 0 } });
  assert.equal(updated.attributes.latency, 400);
  assert.ok((await roundTrip(proxy)) >= 400);
  assert.equal((await proxy.getToxic("slow")).attributes.latency, 400);
  await toxic.remove();
  await assert.rejects(proxy.getToxic("slow"), /404/);
  await assert.rejects(proxy.addToxic({ type: "slow", attributes: {} }), /400/);

  const off = await proxy.update({ enabled: false, listen: proxy.listen, upstream });
  assert.equal(off.enabled, false);
  await assert.rejects(roundTrip(proxy));
  await server.reset();
  assert.equal((await server.get("echo")).enabled, true);
  await roundTrip(proxy);

  const populated = await server.populate([
    { name: "echo", listen: proxy.listen, upstream, enabled: true },
    { name: "more", listen: "127.0.0.1:0", upstream, enabled: false },
  ]);
  assert.deepEqual(Object.keys(populated), ["echo", "more"]);
  const all = await server.getAll();
  assert.deepEqual(Object.keys(all), ["echo", "more"]);
  for (const one of Object.values(all)) await one.remove();
  assert.deepEqual(await server.getAll(), {});
  echo.close();
  console.log("toxiproxy-node-client: its operations work");
};

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
