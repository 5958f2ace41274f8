// Record where this process connects to and what names it looks up; keep it on this machine.
// Loaded by NODE_OPTIONS=--require, so it is there before any of the program's own code. Every TCP
// and TLS connection of Node passes Socket.prototype.connect, and every lookup one of node:dns.
const dns = require("node:dns");
const fs = require("node:fs");
const net = require("node:net");

const local = ["127.0.0.1", "::1", "localhost"];

function observe(event, host) {
  fs.appendFileSync(process.env.OBSERVED, JSON.stringify([event, host]) + "\n");
  if (local.includes(host)) return null;
  return Object.assign(new Error(`kept on this machine: ${host}`), { code: "ENOTFOUND" });
}

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...given) {
  const [options] = net._normalizeArgs(Array.isArray(given[0]) ? given[0] : given);
  if (!options.path) {
    const problem = observe("connect", options.host ?? "localhost");
    if (problem) {
      process.nextTick(() => this.destroy(problem));
      return this;
    }
  }
  return connect.apply(this, given);
};

const names = Object.keys(dns).filter((name) => /^(lookup|resolve|reverse)/.test(name));
for (const name of names) {
  const original = dns[name];
  dns[name] = function (host, ...rest) {
    const problem = observe(name, host);
    if (problem) return process.nextTick(rest.at(-1), problem);
    return original.call(this, host, ...rest);
  };
  const promised = dns.promises[name];
  if (!promised) continue;
  dns.promises[name] = async function (host, ...rest) {
    const problem = observe(name, host);
    if (problem) throw problem;
    return promised.call(this, host, ...rest);
  };
}
