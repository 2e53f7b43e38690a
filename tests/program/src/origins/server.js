// An origin on Node's own HTTP server: answers what it understood, and remembers it.
const http = require("http");
let seen = [];
const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("error", () => {});
  request.on("end", () => {
    let body;
    if (request.url === "/__seen") {
      body = JSON.stringify(seen);
      seen = [];
    } else {
      const content = Buffer.concat(parts).toString("latin1");
      const understood = { method: request.method, target: request.url, body: content };
      seen.push(understood);
      body = JSON.stringify(understood);
    }
    response.writeHead(200, { "Content-Length": Buffer.byteLength(body) });
    response.end(request.method === "HEAD" ? undefined : body);
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
