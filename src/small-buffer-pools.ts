import { Buffer } from "node:buffer";

/**
 * Node takes buffers of up to half of a pool from a common piece of memory, which stays for as long as any of them: with
 * its pools of 64 KiB, a thousand uploads that wait with a piece of 16 KiB each can hold four times as much as they have.
 */
Buffer.poolSize = 8 * 1024;
