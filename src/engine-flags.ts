import { setFlagsFromString } from "node:v8";

/**
 * Threads that load TypeScript side by side can crash the process (V8 13.6, Node 24.21). Node strips types in
 * WebAssembly. Once a thread's WebAssembly has called the same imported function 1000 times, V8 compiles a wrapper for
 * it, which all threads share, and two threads that do so at one moment can free it twice
 * (`Runtime_TierUpWasmToJSWrapper`, then `FreeDeadCode`). No wrapper is compiled in threads that start after this.
 */
const CALLS_BEFORE_A_WRAPPER_IS_COMPILED = 2_000_000_000;
setFlagsFromString(`--wasm-wrapper-tiering-budget=${CALLS_BEFORE_A_WRAPPER_IS_COMPILED}`);

/**
 * After a burst in which the objects of calls lived for long, V8 makes those of all later calls where it keeps what
 * lives for long, and frees them only in full collections: a third of all garbage from then on, 20 to 60 MiB of it.
 */
setFlagsFromString("--no-allocation-site-pretenuring");
