import type { ScanTask } from "../src/scanning/scan-protocol.ts";
import { ScanServer } from "../src/scanning/scan-server.ts";

const server = new ScanServer();

export default (task: ScanTask): unknown => server.handle(task);
