"""An origin on Python's own HTTP server: answers what it understood, and remembers it."""
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SEEN = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def chunks(self):
        while True:
            size = int(self.rfile.readline(1024).strip(), 16)
            if size == 0:
                while self.rfile.readline(65536).strip():
                    pass
                return
            chunk = self.rfile.read(size)
            if len(chunk) < size:
                raise EOFError
            yield chunk
            self.rfile.readline(8)

    def body(self):
        if self.headers.get("Transfer-Encoding"):
            return b"".join(self.chunks())
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            raise EOFError
        return body

    def answer(self):
        if self.path == "/__seen":
            body = json.dumps(SEEN).encode()
            SEEN.clear()
        else:
            try:
                content = self.body().decode("latin-1")
            except (EOFError, ValueError, OSError):
                self.close_connection = True
                return
            seen = {"method": self.command, "target": self.path, "body": content}
            SEEN.append(seen)
            body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
sys.stderr.close()
server.serve_forever()
