import { readFully } from "../file-system.ts";
import { ADOPTED_PAYLOAD_OFFSET } from "./adoption.ts";
import type { ShardContext } from "./shard-context.ts";
import type { PutRequest } from "./shard-protocol.ts";

/**
 * The staged bytes: views of the slab, or the contents of the temp file.
 * @param allocate memory for these.
 */
export function readStaged(
  context: ShardContext,
  request: PutRequest,
  allocate: (bytes: number) => Buffer = (bytes) => Buffer.allocUnsafe(bytes),
): Uint8Array[] {
  const { source, stagedBytes } = request;
  if (source.kind === "slab") {
    const { slab, slabBlockBytes } = context;
    let from = source.start;
    let left = stagedBytes;
    return source.blocks.map((block) => {
      const at = block * slabBlockBytes + from;
      const piece = slab.subarray(at, at + Math.min(slabBlockBytes - from, left));
      from = 0;
      left -= piece.byteLength;
      return piece;
    });
  }
  const { fileSystem } = context;
  const fd = fileSystem.open(source.path, "read");
  try {
    // What the file holds decides, not what the uploader says it wrote (DESIGN 1).
    const bytes = allocate(Math.max(0, fileSystem.sizeOf(fd) - ADOPTED_PAYLOAD_OFFSET));
    return [bytes.subarray(0, readFully(fileSystem, fd, bytes, ADOPTED_PAYLOAD_OFFSET))];
  } finally {
    fileSystem.close(fd);
  }
}
