/**
 * Process entry: what `node:http` costs by itself. A GET is answered with a buffer of as many bytes as `?bytes=` says,
 * a PUT once its body has come; nothing is stored. The port is the argument.
 */
import { createServer } from "node:http";

const buffers = new Map<number, Buffer>();

function bufferOf(bytes: number): Buffer {
  const buffer = buffers.get(bytes) ?? Buffer.alloc(bytes, "bare");
  buffers.set(bytes, buffer);
  return buffer;
}

createServer((request, response) => {
  if (request.method === "GET") {
    const { url = "" } = request;
    const body = bufferOf(Number(url.slice(url.indexOf("=") + 1)));
    response.writeHead(200, { "content-type": "application/octet-stream", "content-length": body.length }).end(body);
  } else {
    request.on("data", () => undefined).on("end", () => response.writeHead(200, { "content-length": 0 }).end());
  }
}).listen(Number(process.argv[2]), "127.0.0.1");
