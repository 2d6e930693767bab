import { createBLAKE3 } from "hash-wasm";

/**
 * The only instance of a thread. WebAssembly is compiled asynchronously, so this module is not loaded, nor any that
 * needs it, before it can hash.
 */
const shared = await createBLAKE3();
const initialState = shared.init().save();

/** BLAKE3 of 32 bytes. Several may be under way in turns: each keeps its state and lends it to the one instance. */
export class Blake3 {
  #state = initialState;

  update(piece: Uint8Array): void {
    this.#state = shared.load(this.#state).update(piece).save();
  }

  digest(): Uint8Array {
    return shared.load(this.#state).digest("binary");
  }
}
